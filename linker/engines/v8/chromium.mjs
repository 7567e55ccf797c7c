// node chromium.mjs PROFILE PLUGIN.wasm NAME=FILE...: the same in a headless Chromium, of whose page each batch of calls is an expression.
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { open } from "../../../tests/engines/browser/chromium.mjs";
import { measure } from "./echo.mjs";

const [profile, pluginFile, ...files] = process.argv.slice(2);
const subjects = files.map((file) => file.split("="));
const MINUTES = 10; // for everything

const server = createServer(async ({ url }, response) => {
  const [, name] = /^\/(\w+)\.wasm$/.exec(url) ?? [];
  const body = { "/": "<!doctype html><title>echo</title>", "/echo.mjs": await readFile(new URL("echo.mjs", import.meta.url)) }[url];
  const type = url === "/" ? "text/html" : "text/javascript";
  if (body) response.writeHead(200, { "content-type": type }).end(body);
  else if (name === "plugin") response.writeHead(200).end(await readFile(pluginFile));
  else if (subjects[name]) response.writeHead(200).end(await readFile(subjects[name][1]));
  else response.writeHead(404).end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const page = await open(`http://127.0.0.1:${server.address().port}/`, profile, MINUTES);
await page.evaluate(`(async () => {
  const { checked, open } = await import("/echo.mjs");
  const compile = async (name) => WebAssembly.compile(await (await fetch("/" + name + ".wasm")).arrayBuffer());
  const plugin = await compile("plugin"), calls = [], inputs = new Map();
  for (let at = 0; at < ${subjects.length}; at++) calls.push(open(await compile(at), plugin));
  globalThis.batch = (at, size, count) => {
    if (!inputs.has(size)) inputs.set(size, checked(size, calls));
    const [call, input] = [calls[at], inputs.get(size)];
    for (let i = 0; i < count; i++) call(input);
  };
})()`);

// A page's own clock tells no CPU time. Linux tells that of the threads on which pages run, and only one page does something.
const { processInfo } = await page.send("SystemInfo.getProcessInfo");
const pages = new Map(processInfo.filter(({ type }) => type === "renderer").map(({ id }) => [`/proc/${id}/task/${id}/schedstat`, 0]));
function clock() {
  for (const file of pages.keys()) {
    try {
      pages.set(file, Number(readFileSync(file, "utf8").split(" ")[0]) / 1000);
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes(error.code)) throw error; // one that Chromium held in reserve has ended
    }
  }
  return [...pages.values()].reduce((sum, time) => sum + time, 0);
}
await measure("chromium", subjects.map(([name]) => name), async (at, size, count) => {
  await page.evaluate(`batch(${at}, ${size}, 1)`); // the input is made
  const start = clock();
  await page.evaluate(`batch(${at}, ${size}, ${count})`);
  return clock() - start;
});
page.close();
process.exit(0);
