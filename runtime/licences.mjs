// Writes THIRD-PARTY-LICENSES: the licences of all that is compiled into libextism, as the crates in Cargo.lock state them.
//
//   node runtime/licences.mjs            writes the file
//   node runtime/licences.mjs --check    fails if it isn't what would be written
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(fileURLToPath(import.meta.url));
const output = join(folder, "THIRD-PARTY-LICENSES");
const arguments_ = process.argv.slice(2);
if (arguments_.length > 1 || (arguments_.length === 1 && arguments_[0] !== "--check")) {
  console.error("usage: node runtime/licences.mjs [--check]");
  process.exit(2);
}

const cargo = (...words) => execFileSync("cargo", words, { cwd: folder, encoding: "utf8", maxBuffer: 1 << 30 });
// The tree knows what the library is made of, the metadata where that lies.
const tree = cargo("tree", "--locked", "--package", "extism-kernel-runtime", "--edges", "normal,no-proc-macro", "--target", "all",
  "--prefix", "none", "--format", "{p}");
const parts = new Set(tree.split("\n").map((line) => line.split(" ").slice(0, 2).join(" ")));
const crates = JSON.parse(cargo("metadata", "--locked", "--format-version", "1")).packages
  .filter((crate) => crate.source && parts.has(`${crate.name} v${crate.version}`))
  .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1));

const isLicence = (name) => /^(un)?(licen[cs]e|copying|copyright|notice)([-._].*)?$/i.test(name) && !/\.(rs|spdx)$/.test(name);
const textsOf = (crate) => {
  const where = dirname(crate.manifest_path);
  const names = readdirSync(where, { recursive: true }).sort()
    .filter((name) => isLicence(name.split(/[/\\]/).pop()) && statSync(join(where, name)).isFile());
  return names.map((name) => readFileSync(join(where, name), "utf8"));
};

// The same text is there once, for all crates that have it; line ends and indents may differ.
const users = new Map();
const add = (text, user) => {
  const lines = text.replace(/\r/g, "").split("\n").map((line) => line.trimEnd());
  const key = lines.join(" ").replace(/\s+/g, " ").trim();
  const entry = users.get(key) ?? { text: lines.join("\n").replace(/^\n+|\n+$/g, ""), crates: new Set() };
  users.set(key, entry);
  entry.crates.add(user);
};

// Crates that come without a text get that of their licence, with their authors.
const clause = readFileSync(join(folder, "../LICENSE"), "utf8");
const textless = (crate) => {
  const licence = crate.license.replace("/", " OR ");
  if (licence === "BSD-3-Clause") {
    return clause.replace(/^Copyright .*$/m, `Copyright (c) ${crate.authors.join(", ")}`);
  }
  const model = licence.includes("Apache-2.0 WITH LLVM-exception") ? "wasmtime" : licence.includes("Apache-2.0") ? "anyhow" : undefined;
  const text = textsOf(crates.find(({ name }) => name === model) ?? { manifest_path: "/nowhere/" })
    .find((text) => /Apache License\s+Version 2\.0/.test(text));
  if (!text) throw new Error(`${crate.name} ${crate.version} has no text of its licence ${crate.license}: say here which it gets`);
  return text;
};

let table = "";
for (const crate of crates) {
  if (!crate.license && !crate.license_file) throw new Error(`${crate.name} ${crate.version} states no licence`);
  const user = `${crate.name} ${crate.version}`;
  table += `${user}: ${crate.license ?? "its own, below"}\n`;
  const texts = textsOf(crate);
  for (const text of texts.length ? texts : [textless(crate)]) add(text, user);
}

let result = `The licences of what is compiled into libextism beside its own code, on any system.
Made by runtime/licences.mjs. Also the standard library of Rust, under MIT OR Apache-2.0.

${table}`;
for (const { text, crates } of users.values()) {
  const names = [...crates].join(", ").replace(/(.{1,116})(?: |$)/g, "$1\n");
  result += `\n${"=".repeat(120)}\n${names}${"=".repeat(120)}\n\n${text}\n`;
}

if (arguments_.length === 0) {
  writeFileSync(output, result);
  console.log(`${crates.length} crates, ${users.size} texts, ${result.length} characters`);
} else if (readFileSync(output, "utf8") !== result) {
  console.error("runtime/THIRD-PARTY-LICENSES isn't that of Cargo.lock: run 'node runtime/licences.mjs', and look at what changed");
  process.exit(1);
}
