// Opens the page in a headless Chromium and prints what it shows: node drive.mjs KERNEL.wasm CONFORMANCE.json PLUGINS PROFILE
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

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

const browser = spawn(
  "chromium",
  [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);
const fail = (why) => {
  console.error(`FAILED ${why}`);
  browser.kill();
  process.exit(1);
};
browser.on("error", (error) => fail(`chromium does not start: ${error.message}`));
browser.on("exit", () => fail("chromium ended"));
setTimeout(fail, MINUTES * 60_000, `the page was not done within ${MINUTES} minutes`);

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
await send("Page.navigate", { url: `http://127.0.0.1:${server.address().port}/browser/index.html` }, sessionId);
await loaded;
const read = `new Promise((resolve) => {
  const content = (id) => document.getElementById(id).innerText;
  const look = () => content("summary")
    ? resolve({ summary: content("summary"), output: content("output"), conformance: content("conformance"),
                failures: Array.from(document.querySelectorAll("#failures li"), (item) => item.innerText) })
    : setTimeout(look, 100);
  look();
})`;
const { result } = await send("Runtime.evaluate", { expression: read, awaitPromise: true, returnByValue: true }, sessionId);
const { summary, output, conformance, failures } = result.value;
for (const failure of failures) console.error(`FAILED ${failure}`);
console.log(output);
console.log(conformance);
console.log(summary);
browser.removeAllListeners("exit").kill();
const shown = output === '{"count":3,"total":3,"vowels":"aeiouAEIOU"}';
if (!shown) console.error(`FAILED the page shows ${output}`);
process.exit(failures.length || !shown ? 1 : 0);
