// A page in a headless Chromium.
import { spawn } from "node:child_process";

/**
 * Opens `url` in a Chromium that keeps its files in the folder `profile`. If the browser fails, or isn't closed within so many
 * minutes, says so and ends this process with 1. Returns what may be done with it: `send` a command of the DevTools protocol
 * to the browser, `evaluate` an expression in the page, waiting for it if it is a promise, `close`.
 */
export async function open(url, profile, minutes) {
  const browser = spawn(
    "chromium",
    [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
    ],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
  );
  function fail(why) {
    console.error(`FAILED ${why}`);
    browser.kill();
    process.exit(1);
  }
  browser.on("error", (error) => fail(`chromium does not start: ${error.message}`));
  browser.on("exit", () => fail("chromium ended"));
  const timer = setTimeout(fail, minutes * 60_000, `the page was not done within ${minutes} minutes`);

  // JSON messages, each ended by a zero byte, to the browser's file 3 and from its file 4.
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
  await send("Page.navigate", { url }, sessionId);
  await loaded;
  return {
    send: (method) => send(method),
    async evaluate(expression) {
      const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }, sessionId);
      if (exceptionDetails) fail(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    close() {
      clearTimeout(timer);
      browser.removeAllListeners("exit").kill();
    },
  };
}
