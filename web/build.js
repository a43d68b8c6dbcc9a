// Writes hinpaint/pages/vendor: the bundles, their licences, and vendor.json with versions and SHA-256.
// Run by a maintainer after a version in package.json changed; nothing here runs where hinpaint runs.
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const out = new URL("../hinpaint/pages/vendor/", import.meta.url).pathname;
const modules = new URL("node_modules/", import.meta.url).pathname;
const manifest = (name) => JSON.parse(readFileSync(join(modules, name, "package.json")));

// A package and all it depends on: of what its authors bundled, the parts are not told apart.
function closure(name, found = new Set()) {
  if (!found.has(name) && existsSync(join(modules, name))) {
    found.add(name);
    Object.keys(manifest(name).dependencies ?? {}).forEach((each) => closure(each, found));
  }
  return found;
}

async function bundle(entry, file, globalName) {
  const { metafile } = await build({
    entryPoints: [entry], outfile: join(out, file), globalName, bundle: true, minify: true, format: "iife",
    target: "es2020", legalComments: "none", metafile: true,
    footer: entry === "table.js" ? { js: "Tabulator=Tabulator.default;" } : {},
  });
  const inputs = Object.values(metafile.outputs)[0].inputs;
  const used = Object.keys(inputs).filter((path) => inputs[path].bytesInOutput > 0);
  return new Set(used.map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean));
}

function copy(path, file) {
  copyFileSync(join(modules, path), join(out, file));
}

copy("3dmol/build/3Dmol-min.js", "3dmol.js");
copy("tabulator-tables/dist/css/tabulator_simple.min.css", "table.css");
const contents = {
  "3dmol.js": closure("3dmol"),
  "plot.js": await bundle("plot.js", "plot.js", "Plot"),
  "table.css": new Set(["tabulator-tables"]),
  "table.js": await bundle("table.js", "table.js", "Tabulator"),
};

const described = (name) => ({ name, version: manifest(name).version, licence: manifest(name).license });
const files = Object.entries(contents).map(([name, packages]) => {
  let text = readFileSync(join(out, name), "utf8").replace(/\s*\/[/*]# sourceMappingURL=\S+( \*\/)?\s*$/, "\n");
  writeFileSync(join(out, name), text);
  const sha256 = createHash("sha256").update(text).digest("hex");
  return { name, sha256, bytes: Buffer.byteLength(text), packages: [...packages].sort().map(described) };
});
writeFileSync(join(out, "vendor.json"), JSON.stringify({ files }, null, 1) + "\n");

const licences = [...new Set(Object.values(contents).flatMap((each) => [...each]))].sort().map((name) => {
  const file = readdirSync(join(modules, name)).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(join(modules, name, file), "utf8").trim() : "The package ships no licence text.";
  return `${name} ${manifest(name).version} (${manifest(name).license})\n\n${text}\n`;
});
writeFileSync(join(out, "LICENCES.txt"), licences.join(`\n${"-".repeat(79)}\n\n`));
