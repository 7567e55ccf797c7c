// The same for all engines of JavaScript: runs everything, gives the object for the JSON line.
import { conformance } from "./conformance.mjs";
import { Plugin, bytesOf, text } from "./host.mjs";
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

/** open loads the plugin of that name, with the kernel. */
function checks(open) {
  const call = (plugin, name, input = "", context = null) => text(plugin.call(name, bytesOf(input), context));
  // What the embedder offers: a greeting whose word may come from the host context, and a sum.
  const functions = {
    "extism:host/user": {
      greet: (plugin, name) => plugin.alloc(bytesOf(`${plugin.hostContext()?.word ?? "Hello"}, ${text(plugin.take(name))}!`)),
      echo_handle: (plugin, handle) => handle,
    },
    calculator: { add: (plugin, a, b) => Math.floor(a + b) },
  };
  return {
    async echo() {
      const plugin = await open("echo");
      for (const size of [0, 1, 7, 8, 65536, 1000003]) echo(plugin, size);
    },
    async "count_vowels"() {
      const plugin = await open("count_vowels");
      expect(call(plugin, "count_vowels", HELLO), '{"count":3,"total":3,"vowels":"aeiouAEIOU"}');
      expect(call(plugin, "count_vowels", HELLO), '{"count":3,"total":6,"vowels":"aeiouAEIOU"}');
    },
    async config() {
      const plugin = await open("count_vowels", { config: { vowels: "o" } });
      expect(call(plugin, "count_vowels", HELLO), '{"count":2,"total":2,"vowels":"o"}');
    },
    async errors() {
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
    async variables() {
      const plugin = await open("vars");
      call(plugin, "set", "kept");
      expect(call(plugin, "get"), "kept");
      call(plugin, "delete");
      expect(call(plugin, "get"), "");
    },
    async "host functions"() {
      const plugin = await open("host-functions", { functions });
      expect(call(plugin, "greet", "Benjamin"), "Hello, Benjamin!");
      expect(call(plugin, "add"), "\x2a");
    },
    async "host context"() {
      const plugin = await open("host-functions", { functions });
      expect(call(plugin, "greet", "Benjamin", { word: "Howdy" }), "Howdy, Benjamin!");
      expect(call(plugin, "greet", "Benjamin"), "Hello, Benjamin!");
    },
    async handle_echo() {
      expect(call(await open("handle_echo", { functions }), "handle_echo", HELLO), HELLO);
    },
    async log() {
      const messages = [];
      const plugin = await open("log", { log: (level, line) => messages.push(level + line), logLevel: 2 });
      expect(call(plugin, "level"), "2");
      expect(call(plugin, "log_each_level"), "0");
      expect(String(messages), "2i,3w,4e");
    },
  };
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

/** load gives the bytes of the plugin of that name; report tells what failed. */
export async function run({ engine, version, kernel, cases, load, report }) {
  const open = async (name, options) => Plugin.load(kernel, await load(name), options);
  const summary = { engine, version, ...(await conformance(kernel, cases, report)) };
  const failures = [];
  const all = Object.entries(checks(open));
  for (const [name, check] of all) {
    try {
      await check();
    } catch (error) {
      failures.push(name);
      report(`plugin check ${name}: ${error.message}`);
    }
  }
  return Object.assign(summary, {
    plugins: all.length,
    plugins_failed: failures.length,
    call_us: callMicroseconds(await open("echo")),
    hash: await trace(kernel),
    four_pages: null, // JavaScript can't limit a memory that a module exports
    context: !failures.includes("host context"),
  });
}
