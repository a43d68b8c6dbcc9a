"use strict";
// The page of one entry: the picture of the cell, the energy ladder and the histogram, all from the block "data".
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = { placed: "#e69f00", own: "#9aa5b1", other: "#56b4e9", failed: "#8a8f94", reference: "#009e73" };
  const BONDED_A = 1.4; // nearer than this a placed site is drawn beside the copy of the site it is bound to
  const FACE = 0.02; // sites this near to a face, in fractions of the cell, are drawn on both sides
  const MANY_SITES = 400;

  // -- coordinates
  const [a, b, c] = [0, 3, 6].map((i) => data.lattice.slice(i, i + 3));
  const cartesian = (f) => [0, 1, 2].map((i) => f[0] * a[i] + f[1] * b[i] + f[2] * c[i]);
  const wrap = (f) => f.map((x) => x - Math.floor(x));
  const add = (f, g) => f.map((x, i) => x + g[i]);
  const rows = (flat, width) => Array.from({ length: flat.length / width }, (_, i) => flat.slice(width * i, width * (i + 1)));
  const host = rows(data.host, 3).map(wrap);

  function copies(f) {
    if (data.species.length > MANY_SITES) return [f];
    const shifts = f.map((x) => (x < FACE ? [0, 1] : x > 1 - FACE ? [0, -1] : [0]));
    return shifts[0].flatMap((i) => shifts[1].flatMap((j) => shifts[2].map((k) => add(f, [i, j, k]))));
  }
  const sites = (flat) => rows(flat, 4).map(([index, ...offset]) => {
    const bonded = Math.hypot(...cartesian(offset)) <= BONDED_A;
    const drawn = bonded ? copies(host[index]).map((f) => add(f, offset)) : copies(wrap(add(host[index], offset)));
    return { partner: data.species[index], distance: Math.hypot(...cartesian(offset)), drawn: drawn.map(cartesian) };
  });

  // -- the picture
  const place = document.getElementById("viewer");
  const controls = document.querySelector(".controls");
  const trialBox = document.getElementById("trial");
  const cellBox = document.getElementById("cell");
  const viewOf = () => document.querySelector("input[name=view]:checked").value;
  const lines = (atoms) => `${atoms.length}\n\n${atoms.map(([e, p]) => [e, ...p.map((x) => x.toFixed(4))].join(" ")).join("\n")}`;
  let viewer = null;

  function addSites(flat, shade, radius, opacity) {
    for (const site of sites(flat)) {
      for (const [x, y, z] of site.drawn) viewer.addSphere({ center: { x, y, z }, radius, color: shade, opacity, quality: 3 });
    }
  }

  const hostShades = new Map(); // as the library colours them

  function addStructure(flat, shade) {
    const known = data.species.flatMap((e, i) => copies(host[i]).map((f) => [e, cartesian(f)]));
    const added = sites(flat).flatMap((site) => site.drawn.map((p) => [data.element, p]));
    const model = viewer.addModel(lines([...known, ...added]), "xyz");
    const own = { sphere: { scale: 0.26 }, stick: { radius: 0.09 } };
    model.setStyle({}, own);
    model.selectedAtoms({}).slice(0, known.length).forEach(({ elem, color }) => hostShades.set(elem, `#${color.toString(16).padStart(6, "0")}`));
    const paint = (from, to, color) => model.selectedAtoms({}).slice(from, to).forEach((atom) => {
      atom.style = { sphere: { scale: 0.3, color }, stick: { radius: 0.09, color } };
    });
    paint(known.length, known.length + added.length, shade);
    known.forEach(([e], i) => { if (e === data.element) paint(i, i + 1, colour.own); });
  }

  function addCell() {
    const corner = (i, j, k) => { const [x, y, z] = cartesian([i, j, k]); return { x, y, z }; };
    for (const [start, end] of [
      [[0, 0, 0], [1, 0, 0]], [[0, 1, 0], [1, 1, 0]], [[0, 0, 1], [1, 0, 1]], [[0, 1, 1], [1, 1, 1]],
      [[0, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 1, 0]], [[0, 0, 1], [0, 1, 1]], [[1, 0, 1], [1, 1, 1]],
      [[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [1, 0, 1]], [[0, 1, 0], [0, 1, 1]], [[1, 1, 0], [1, 1, 1]],
    ]) {
      viewer.addCylinder({ start: corner(...start), end: corner(...end), radius: 0.025, color: "#8a8f94" });
    }
    ["a", "b", "c"].forEach((name, i) => viewer.addLabel(name, {
      position: corner(...[0, 1, 2].map((j) => (i === j ? 1.08 : 0))), fontSize: 16, fontColor: "#7a838c",
      showBackground: false, alignment: "center",
    }));
  }

  const drawable = data.trials.filter((trial) => trial.sites);
  const candidate = drawable.find((trial) => trial.outcome === "candidate");
  const chosen = () => drawable[trialBox.selectedIndex - 1];
  function shadeOf(trial) {
    if (trial.outcome === "candidate") return colour.placed;
    if (trial.number === -1) return colour.reference;
    if (trial.outcome !== "passed") return colour.failed;
    const same = candidate && trial.arrangement !== null && trial.arrangement === candidate.arrangement;
    return same ? colour.placed : colour.other;
  }

  function draw() {
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    const view = viewOf();
    const trial = chosen();
    if (view === "before") addStructure(data.source, colour.own);
    if (view === "after") addStructure(trial ? trial.sites : data.placed, trial ? shadeOf(trial) : colour.placed);
    if (view === "all") {
      addStructure([], colour.own);
      for (const each of drawable) if (each.number >= 0) addSites(each.sites, shadeOf(each), 0.2, 0.75);
      addSites(data.placed, colour.placed, 0.24, 1);
    }
    if (cellBox.checked) addCell();
    viewer.render();
    legend(view);
  }

  function legend(view) {
    const el = data.element;
    const own = data.source.length && view === "before" || data.species.includes(el) ? [[colour.own, `${el} of the source`]] : [];
    const trial = chosen();
    const entries = {
      before: own,
      after: [[trial ? shadeOf(trial) : colour.placed, trial ? `${el} of ${trial.label}` : `placed ${el}`], ...own],
      all: [[colour.placed, "the arrangement of the candidate"], [colour.other, "other trials that passed"], [colour.failed, "trials that failed"]],
    }[view];
    const elements = [...hostShades].filter(([each]) => each !== el).map(([each, shade]) => [shade, each]);
    document.getElementById("legend").replaceChildren(...[...elements, ...entries].flatMap(([shade, text]) => {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = shade;
      return [swatch, document.createTextNode(text)];
    }), document.createTextNode(elements.length + entries.length ? ". " : ""));
  }

  function reset() {
    // The whole cell in view: the library's camera stands at 150 Å and sees 20 degrees.
    const centre = cartesian([0.5, 0.5, 0.5]);
    const corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]].map(cartesian);
    const radius = 0.8 + Math.max(...corners.map((p) => Math.hypot(...p.map((x, i) => x - centre[i]))));
    const narrow = Math.min(1, place.clientWidth / place.clientHeight);
    viewer.setView([...centre.map((x) => -x), 150 - radius / narrow / Math.tan(Math.PI / 18), 0, 0, 0, 1]);
    viewer.rotate(-80, "x");
    viewer.rotate(15, "y");
    viewer.render();
  }

  function select(number) {
    trialBox.selectedIndex = 1 + drawable.findIndex((trial) => trial.number === number);
    document.querySelector("input[name=view][value=after]").checked = true;
    if (viewer) draw();
  }

  const keys = {
    ArrowLeft: () => viewer.rotate(-10, "y"), ArrowRight: () => viewer.rotate(10, "y"), ArrowUp: () => viewer.rotate(-10, "x"),
    ArrowDown: () => viewer.rotate(10, "x"), "+": () => viewer.zoom(1.15), "-": () => viewer.zoom(0.87),
  };

  function start() {
    $3Dmol.notrack = true; // the library reports its use unless told not to
    try {
      viewer = $3Dmol.createViewer(place, { backgroundAlpha: 0, antialias: true, disableFog: true });
    } catch (error) {
      viewer = null;
    }
    if (!viewer) {
      place.textContent = "This browser cannot draw in three dimensions (WebGL).";
      return;
    }
    const options = drawable.map((trial) => new Option(`${trial.label}, ${trial.outcome}`));
    trialBox.replaceChildren(new Option(data.placed.length ? "candidate" : "none"), ...options);
    controls.hidden = false;
    controls.addEventListener("change", (event) => {
      if (event.target === trialBox) document.querySelector("input[name=view][value=after]").checked = true;
      draw();
    });
    document.getElementById("reset").addEventListener("click", reset);
    place.addEventListener("keydown", (event) => {
      if (event.key in keys) {
        keys[event.key]();
        viewer.render();
        event.preventDefault();
      }
    });
    draw();
    reset();
  }

  // -- the plots
  const ink = { background: "transparent", color: "currentColor", fontSize: "12px", overflow: "visible" };

  function ladder(width) {
    const kind = (t) => (t.number === -1 ? "reference" : t.number < -1 ? "chance" : t.arrangement === null ? "trials" : `arrangement ${t.arrangement}`);
    const steps = data.trials.filter((t) => t.energy !== null).map((t) => ({ ...t, kind: kind(t), shade: shadeOf(t), failed: !["candidate", "passed"].includes(t.outcome) }));
    if (!steps.length) return null;
    const highest = Math.max(...steps.map((t) => t.energy));
    const order = ["reference", "chance"];
    const groups = [...new Set(steps.map((t) => t.kind))].sort((x, y) => order.indexOf(x) - order.indexOf(y) || x.localeCompare(y, "en", { numeric: true }));
    const plot = Plot.plot({
      width, height: 250, marginLeft: 52, marginBottom: 36, style: ink,
      x: { domain: groups, label: null, tickFormat: (name) => (groups.length > 5 ? name.replace("arrangement ", "") : name), padding: 0.25 },
      y: { domain: [Math.min(0, ...steps.map((t) => t.energy)), Math.max(1, highest)], type: highest > 20 ? "symlog" : "linear", constant: 1, label: "meV per atom above the lowest", grid: true, nice: true,
        ticks: highest > 20 ? [-10, -1, 0, 1, 10, 100, 1000, 10000].filter((t) => t <= 1.5 * highest) : 5, tickFormat: (t) => `${t}` },
      marks: [
        Plot.tickY(steps, { x: "kind", y: "energy", stroke: "shade", strokeWidth: 1.5, strokeDasharray: "none" }),
        Plot.dot(steps, { x: "kind", y: "energy", stroke: "shade", fill: (t) => (t.failed ? "var(--card)" : t.shade), r: 5,
          title: (t) => `${t.label}: ${t.energy.toFixed(1)} meV/atom, ${t.outcome}` }),
      ],
    });
    plot.querySelectorAll("[aria-label=dot] circle").forEach((circle, i) => {
      circle.dataset.trial = steps[i].number;
      if (steps[i].sites) circle.addEventListener("click", () => select(steps[i].number));
    });
    return plot;
  }

  function distances(width) {
    const found = sites(data.placed).map((site) => ({ distance: site.distance, partner: `${data.element}–${site.partner}` }));
    if (!found.length) return null;
    const partners = [...new Set(found.map((each) => each.partner))].sort();
    const marks = Object.entries(data.neutron).map(([name, length]) => ({ name: `${data.element}–${name}`, length }))
      .filter((mark) => partners.includes(mark.name));
    const all = [...found.map((each) => each.distance), ...marks.map((mark) => mark.length)];
    const low = Math.floor(10 * Math.min(...all) - 1) / 10;
    const high = Math.ceil(10 * Math.max(...all) + 1) / 10;
    const bins = Array.from({ length: Math.round((high - low) / 0.02) + 1 }, (_, i) => low + 0.02 * i);
    return Plot.plot({
      width, height: 210, marginLeft: 40, marginTop: 30, marginBottom: 38, style: ink,
      x: { domain: [low, high], label: "distance / Å", ticks: 6 },
      y: { label: "sites", grid: true, tickFormat: (t) => (Number.isInteger(t) ? `${t}` : "") },
      color: { domain: partners, range: ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a8f94"], legend: partners.length > 1 },
      marks: [
        Plot.rectY(found, Plot.binX({ y: "count" }, { x: "distance", fill: "partner", thresholds: bins, insetLeft: 0.5, insetRight: 0.5 })),
        Plot.ruleX(marks, { x: "length", stroke: "currentColor", strokeDasharray: "3,3" }),
        Plot.text(marks, { x: "length", text: "name", frameAnchor: "top", dy: -14, fill: "currentColor" }),
        Plot.ruleY([0], { stroke: "currentColor", strokeOpacity: 0.4 }),
      ],
    });
  }

  function plots() {
    for (const [id, make] of [["ladder", ladder], ["distances", distances]]) {
      const box = document.getElementById(id);
      box.replaceChildren(make(Math.max(260, box.clientWidth)) ?? "Nothing to show.");
    }
  }

  plots();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) plots();
    width = window.innerWidth;
  });
  start();
})();
