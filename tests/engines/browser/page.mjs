// Shows the kernel in a browser: the output of a plugin, and what the runner says. Everything is fetched from
// where the page is: kernel.wasm, conformance.json, plugins/NAME.wasm.
import { Plugin, bytesOf, text } from "../javascript/host.mjs";
import { run } from "../javascript/runner.mjs";

const show = (id, value) => (document.getElementById(id).textContent = value);
const bytes = async (file) => {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
};
const load = (name) => bytes(`plugins/${name}.wasm`);

function report(what) {
  const item = document.createElement("li");
  item.textContent = what;
  document.getElementById("failures").append(item);
}

/** Shows the output of a plugin, whenever its input changes. */
async function demonstrate(kernel) {
  const plugin = await Plugin.load(kernel, await load("count_vowels"));
  const input = document.getElementById("input");
  const count = () => show("output", text(plugin.call("count_vowels", bytesOf(input.value))));
  input.addEventListener("input", count);
  count();
}

async function version() {
  const { fullVersionList } = (await navigator.userAgentData?.getHighEntropyValues(["fullVersionList"])) ?? {};
  return fullVersionList?.find(({ brand }) => brand === "Chromium")?.version ?? navigator.userAgent;
}

try {
  const kernel = await bytes("kernel.wasm");
  const { cases } = JSON.parse(text(await bytes("conformance.json")));
  const engine = navigator.userAgentData?.brands.some(({ brand }) => brand === "Chromium") ? "chromium" : "browser";
  const { summary } = await run({ engine, version: await version(), kernel, cases, load, report });
  show("conformance", `${summary.cases - summary.failed} of ${summary.cases} cases passed.`);
  await demonstrate(kernel).catch((error) => report(String(error)));
  show("summary", JSON.stringify(summary));
} catch (error) {
  report(String(error));
  show("summary", "null"); // there is nothing to tell
}
