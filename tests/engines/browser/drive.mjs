// Opens the page in a headless Chromium and prints what it shows: node drive.mjs KERNEL.wasm CONFORMANCE.json PLUGINS PROFILE
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { open } from "./chromium.mjs";

const [kernel, cases, plugins, profile] = process.argv.slice(2);
const MINUTES = 20; // for everything
const TYPES = { html: "text/html", mjs: "text/javascript", wasm: "application/wasm", json: "application/json" };
// Only to a page that is apart from all others do browsers tell the time to microseconds.
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
const engines = fileURLToPath(new URL("..", import.meta.url));

/** The page wants its files beside it; here they come from where they are. */
function fileFor(path) {
  if (path === "/browser/kernel.wasm") return kernel;
  if (path === "/browser/conformance.json") return cases;
  const [, folder, name] = /^\/(browser|browser\/plugins|javascript)\/([\w-]+\.(?:html|mjs|wasm))$/.exec(path) ?? [];
  if (folder === "browser/plugins") return `${plugins}/${name}`;
  return folder && `${engines}/${folder}/${name}`;
}

const server = createServer(async ({ url }, response) => {
  const file = fileFor(url);
  try {
    const body = await readFile(file);
    response.writeHead(200, { "content-type": TYPES[file.split(".").pop()], ...ISOLATED }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const page = await open(`http://127.0.0.1:${server.address().port}/browser/index.html`, profile, MINUTES);
const read = `new Promise((resolve) => {
  const content = (id) => document.getElementById(id).innerText;
  const look = () => content("summary")
    ? resolve({ summary: content("summary"), output: content("output"), conformance: content("conformance"),
                failures: Array.from(document.querySelectorAll("#failures li"), (item) => item.innerText) })
    : setTimeout(look, 100);
  look();
})`;
const { summary, output, conformance, failures } = await page.evaluate(read);
for (const failure of failures) console.error(`FAILED ${failure}`);
console.log(output);
console.log(conformance);
console.log(summary);
page.close();
const shown = output === '{"count":3,"total":3,"vowels":"aeiouAEIOU"}';
if (!shown) console.error(`FAILED the page shows ${output}`);
process.exit(failures.length || !shown ? 1 : 0);
