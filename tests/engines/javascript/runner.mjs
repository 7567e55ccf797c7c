// The same for all engines of JavaScript: runs everything, gives the object for the JSON line.
import { conformance } from "./conformance.mjs";
import { Plugin, bytesOf, text } from "./host.mjs";
import { limited } from "./limit.mjs";
import { trace } from "./trace.mjs";

const HELLO = "Hello, World!";

function expect(found, expected) {
  if (found !== expected) throw new Error(`expected ${expected}, found ${found}`);
}

function echo(plugin, size) {
  const input = Uint8Array.from({ length: size }, (_, i) => i * 31 + i / 251);
  const output = plugin.call("echo", input);
  if (output.length !== size || output.some((byte, i) => byte !== input[i])) throw new Error(`${size} bytes came back changed`);
}

const call = (plugin, name, input = "", context = null) => text(plugin.call(name, bytesOf(input), context));

/** What the embedder offers: a greeting whose word may come from the host context, a handle there and back, and a sum. */
const functions = {
  "extism:host/user": {
    greet: (plugin, name) => plugin.alloc(bytesOf(`${plugin.hostContext()?.word ?? "Hello"}, ${text(plugin.take(name))}!`)),
    echo_handle: (plugin, handle) => handle,
  },
  calculator: { add: (plugin, a, b) => Math.floor(a + b) },
};

/** open loads the plugin of that name, with the kernel. */
function checks(open) {
  return {
    async echo() {
      const plugin = await open("echo");
      for (const size of [0, 1, 7, 8, 65536, 1000003]) echo(plugin, size);
    },
    async count_vowels() {
      const plugin = await open("count_vowels");
      expect(call(plugin, "count_vowels", HELLO), '{"count":3,"total":3,"vowels":"aeiouAEIOU"}');
      expect(call(plugin, "count_vowels", HELLO), '{"count":3,"total":6,"vowels":"aeiouAEIOU"}');
    },
    async "count_vowels with config"() {
      const plugin = await open("count_vowels", { config: { vowels: "o" } });
      expect(call(plugin, "count_vowels", HELLO), '{"count":2,"total":2,"vowels":"o"}');
    },
    async fail() {
      const plugin = await open("fail");
      let message;
      try {
        call(plugin, "error_text", "no such thing");
      } catch (error) {
        message = error.message;
      }
      expect(message, "no such thing");
      expect(call(plugin, "succeed"), "");
    },
    async vars() {
      const plugin = await open("vars");
      call(plugin, "set", "kept");
      expect(call(plugin, "get"), "kept");
      call(plugin, "delete");
      expect(call(plugin, "get"), "");
    },
    async greet() {
      expect(call(await open("host-functions", { functions }), "greet", "Benjamin"), "Hello, Benjamin!");
    },
    async add() {
      expect(call(await open("host-functions", { functions }), "add"), "\x2a");
    },
    async handle_echo() {
      expect(call(await open("handle_echo", { functions }), "handle_echo", HELLO), HELLO);
    },
    async log() {
      const all = ["0t", "1d", "2i", "3w", "4e"];
      for (const logLevel of [0, 3]) {
        const messages = [];
        const plugin = await open("log", { log: (level, line) => messages.push(level + line), logLevel });
        expect(call(plugin, "level"), String(logLevel));
        expect(call(plugin, "log_each_level"), "0"); // the last message's length: it was freed
        expect(String(messages), String(all.slice(logLevel)));
      }
    },
    async initialised() {
      const haskell = await open("haskell");
      expect(call(haskell, "initialised"), "");
      expect(call(haskell, "initialised"), "");
      expect(call(await open("constructors"), "initialised"), "");
    },
  };
}

/** Whether the host context is that of its call and of no other; null if the kernel has none. */
async function hostContext(open) {
  const plugin = await open("host-functions", { functions });
  if (!plugin.kernel.extism_context) return null;
  expect(call(plugin, "greet", "Benjamin", { word: "Howdy" }), "Howdy, Benjamin!");
  expect(call(plugin, "greet", "Benjamin"), "Hello, Benjamin!");
  return true;
}

async function fourPages(kernel, load) {
  const plugin = await Plugin.load(limited(kernel, 4), await load("echo"));
  echo(plugin, 65536);
  expect(plugin.kernel.alloc(1048576n), 0n);
  return true;
}

/** The median of 200 calls with 4,096 bytes. */
function callMicroseconds(plugin) {
  const input = new Uint8Array(4096);
  const times = Array.from({ length: 220 }, () => {
    const start = performance.now();
    plugin.call("echo", input);
    return performance.now() - start;
  });
  return Math.round(times.slice(20).sort((a, b) => a - b)[100] * 10000) / 10;
}

/**
 * The object, and whether nothing failed. load gives the bytes of the plugin of that name; report tells what failed;
 * replay, which does what conformance() does, is for engines that have no workers as browsers have them.
 */
export async function run({ engine, version, kernel, cases, load, report, replay = conformance }) {
  const open = async (name, options) => Plugin.load(kernel, await load(name), options);
  /** What a part gives, or that it failed, which is told. */
  const attempt = async (what, part, failed = null) => {
    try {
      return await part();
    } catch (error) {
      report(`${what}: ${error.message}`);
      good = false;
      return failed;
    }
  };
  let good = true, plugins_failed = 0;
  const replayed = await replay(kernel, cases, report);
  const all = Object.entries(checks(open));
  for (const [name, check] of all) if ((await attempt(`plugin check ${name}`, check, "failed")) === "failed") plugins_failed++;
  const summary = {
    engine,
    version,
    ...replayed,
    plugins: all.length,
    plugins_failed,
    call_us: await attempt("time of a call", async () => callMicroseconds(await open("echo"))),
    hash: await attempt("trace", () => trace(kernel)),
    four_pages: await attempt("four pages", () => fourPages(kernel, load), false),
    context: await attempt("host context", () => hostContext(open), false),
  };
  return { summary, good: good && replayed.failed === 0 };
}
