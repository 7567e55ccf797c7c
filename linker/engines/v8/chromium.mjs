// node chromium.mjs PROFILE PLUGIN.wasm NAME=FILE...: the same in a headless Chromium, of whose page each batch of calls is an expression.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
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

const browser = spawn(
  "chromium",
  [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);
function fail(why) {
  console.error(`chromium: ${why}`);
  browser.kill();
  process.exit(1);
}
browser.on("error", (error) => fail(`it does not start: ${error.message}`));
browser.on("exit", () => fail("it ended"));
setTimeout(fail, MINUTES * 60_000, `it was not done within ${MINUTES} minutes`);

// The DevTools protocol: JSON messages, each ended by a zero byte, to the browser's file 3 and from its file 4.
const waiting = new Map();
let buffered = "", sent = 0;
browser.stdio[4].setEncoding("utf8").on("data", (chunk) => {
  const messages = (buffered + chunk).split("\0");
  buffered = messages.pop();
  for (const { id, method, result, error } of messages.map((message) => JSON.parse(message))) {
    if (error) fail(error.message);
    waiting.get(id ?? method)?.(result);
  }
});
const received = (key) => new Promise((resolve) => waiting.set(key, resolve));
function send(method, params = {}, sessionId) {
  browser.stdio[3].write(JSON.stringify({ id: ++sent, method, params, sessionId }) + "\0");
  return received(sent);
}

const { targetId } = await send("Target.createTarget", { url: "about:blank" });
const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
await send("Page.enable", {}, sessionId);
const loaded = received("Page.loadEventFired");
await send("Page.navigate", { url: `http://127.0.0.1:${server.address().port}/` }, sessionId);
await loaded;
async function evaluate(expression) {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }, sessionId);
  if (exceptionDetails) fail(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
await evaluate(`(async () => {
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
const { processInfo } = await send("SystemInfo.getProcessInfo");
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
  await evaluate(`batch(${at}, ${size}, 1)`); // the input is made
  const start = clock();
  await evaluate(`batch(${at}, ${size}, ${count})`);
  return clock() - start;
});
browser.removeAllListeners("exit").kill();
process.exit(0);
