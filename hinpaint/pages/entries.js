"use strict";
// The table of all entries: rows come in columns from rows.js, the table draws only what is in view.
(() => {
  const { columns, names, n } = window.hinpaintRows;
  const at = (name, i) => { const { values, codes } = columns[name]; return values[codes ? codes[i] : i]; };

  // A row is a window on the columns: nothing is copied. The table writes back what it draws: there is nothing to change.
  class Row {
    constructor(id) { this.id = id; }
  }
  const show = (name, read) => Object.defineProperty(Row.prototype, name, { get() { return read(this.id); }, set() {} });
  for (const name of names) show(name, (i) => at(name, i));
  show("database", (i) => at("key", i).split("|", 2).join(" "));
  show("source_id", (i) => at("key", i).split("|").slice(2).join("|"));
  const rows = Array.from({ length: n }, (_, i) => new Row(i));

  // -- the table; every cell is made as text, as names come from sources
  const text = (cell) => document.createTextNode(cell.getValue() ?? "");
  const fixed = (digits) => (cell) => document.createTextNode(cell.getValue() === null ? "" : cell.getValue().toFixed(digits));
  function link(cell) {
    const row = cell.getData();
    if (!row.page) return text(cell);
    const anchor = document.createElement("a");
    anchor.href = `entry/${encodeURIComponent(row.page)}.html`;
    anchor.textContent = cell.getValue();
    anchor.title = row.key;
    return anchor;
  }
  function grade(cell) {
    const span = document.createElement("span");
    span.textContent = cell.getValue() ?? "";
    if (["accept", "review", "reject"].includes(cell.getValue())) span.className = `grade ${cell.getValue()}`;
    return span;
  }
  const has = (name) => !(name in columns) || columns[name].values.some((value) => value !== null);
  const words = new Intl.Collator("en", { numeric: true });
  const last = {
    string: (a, b) => words.compare(a ?? "\uffff", b ?? "\uffff"),
    number: (a, b) => (a ?? -Infinity) - (b ?? -Infinity) || 0, // nothing against nothing is no number
  };
  const column = (title, field, formatter, sorter, width, responsive, more) => ({ title, field, formatter, sorter: last[sorter], minWidth: width, responsive, ...more });
  const number = { hozAlign: "right", headerHozAlign: "right" };
  const shown = [
    column("entry", "source_id", link, "string", 130, 0, { widthGrow: 2 }),
    column("database", "database", text, "string", 140, 7, { widthGrow: 1 }),
    column("formula", "formula", text, "string", 110, 0, { widthGrow: 2 }),
    column("space group", "space_group", text, "string", 145, 5),
    column("sites", "n_sites", text, "number", 75, 6, number),
    column("action", "action", text, "string", 105, 1),
    column("mode", "mode", text, "string", 110, 7),
    column("grade", "grade", grade, "string", 95, 2),
    column("confidence", "confidence", fixed(2), "number", 140, 3, number),
    column("placed", "n_placed", text, "number", 95, 6, number),
    column("passed", "n_passed", text, "number", 95, 8, number),
    column("agree", "n_agree", text, "number", 90, 8, number),
    column("ΔE / meV", "delta_e", fixed(1), "number", 115, 8, number),
    column("reason", "reason", text, "string", 170, 4, { widthGrow: 2 }),
  ].filter((each) => has(each.field));
  const table = new Tabulator("#table", {
    data: rows, columns: shown, height: "max(20rem, min(70vh, 44rem))", layout: "fitColumns", responsiveLayout: "hide", rowHeight: 34, renderVerticalBuffer: 170,
    columnDefaults: { resizable: "header" }, // a handle in every cell would double what is drawn
    placeholder: "No entry fits.", initialSort: [], headerSortTristate: true,
  });

  // -- filters
  const box = (id) => document.getElementById(id);
  for (const name of ["action", "mode", "grade", "reason"]) {
    const values = [...new Set(columns[name].values)].filter((value) => value !== null).sort();
    box(name).replaceChildren(new Option("any", ""), ...values.map((value) => new Option(value)));
    box(name).closest("label").hidden = !values.length;
  }
  const orders = shown.flatMap(({ title, field }) => [[`${title}, up`, field, "asc"], [`${title}, down`, field, "desc"]]);
  box("sort").replaceChildren(new Option("as listed", ""), ...orders.map(([label], i) => new Option(label, i)));

  const lowered = {};
  const lower = (name) => (lowered[name] ??= columns[name].values.map((value) => (value ?? "").toLowerCase()));
  // Tests of a row's value in a column; each distinct value is tested once, not once a row.
  function tested(name, values, test) {
    const { codes } = columns[name], passed = values.map(test);
    return codes ? ({ id }) => passed[codes[id]] : ({ id }) => passed[id];
  }
  function withWord(word) {
    const fitting = ["key", "formula", "space_group", "reason", "detail"].map((name) => tested(name, lower(name), (value) => value.includes(word)));
    return (row) => fitting.some((fits) => fits(row));
  }
  const elementsOf = (formula) => formula?.match(/[A-Z][a-z]?/g) ?? [];
  function fits() {
    const exact = ["action", "mode", "grade", "reason"].filter((name) => box(name).value);
    const tests = [
      ...exact.map((name) => tested(name, columns[name].values, (value) => value === box(name).value)),
      ...elementsOf(box("elements").value).map((each) => tested("formula", columns.formula.values, (formula) => elementsOf(formula).includes(each))),
      ...box("search").value.toLowerCase().split(/\s+/).filter(Boolean).map(withWord),
    ];
    return (row) => tests.every((test) => test(row));
  }
  function say(count) {
    box("shown").textContent = `${count.toLocaleString("en")} of ${n.toLocaleString("en")} shown.`;
  }
  table.on("tableBuilt", () => {
    document.querySelector(".filters").hidden = false;
    say(n);
    const filter = () => table.setFilter(fits());
    table.on("dataFiltered", (_, found) => say(found.length));
    for (const id of ["search", "elements", "action", "mode", "grade", "reason"]) box(id).addEventListener("input", filter);
    box("sort").addEventListener("input", () => {
      const order = orders[box("sort").value];
      if (order) table.setSort(order[1], order[2]);
      else table.clearSort();
    });
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  });
})();
