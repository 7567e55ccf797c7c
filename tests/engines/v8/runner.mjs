// The runner of V8, in Node.js: node runner.mjs KERNEL.wasm CONFORMANCE.json PLUGINS
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Kernel, Plugin } from "./host.mjs";
import { limited } from "./limit.mjs";

const [kernelFile, conformance, folder] = process.argv.slice(2);
const bytes = readFileSync(kernelFile);
const kernel = new WebAssembly.Module(bytes);
const hasContext = WebAssembly.Module.exports(kernel).some(({ name }) => name === "extism_context");
const encode = (text) => Buffer.from(text);
const pattern = (size) => Buffer.from(Array.from({ length: size }, (_, i) => i * 31 + Math.floor(i / 251)));

function cases() {
  const replay = fileURLToPath(new URL("replay.mjs", import.meta.url));
  const { stdout } = spawnSync(process.execPath, [replay, kernelFile, conformance], { encoding: "utf8", maxBuffer: 1 << 26 });
  const lines = stdout.trimEnd().split("\n");
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/.exec(lines.pop()) ?? [];
  lines.forEach((line) => console.error(`v8: ${line}`));
  return { cases: Number(passed) + Number(failed), failed: Number(failed) };
}

/** The embedder's functions. */
const embed = (kernel) => ({
  "extism:host/user": {
    greet: (name) => kernel.write(encode(`${kernel.context ?? "Hello"}, ${Buffer.from(kernel.take(name))}!`)),
    echo_handle: (handle) => handle,
  },
  calculator: { add: (a, b) => Math.floor(a + b) },
});

const load = (name, options, module = kernel) =>
  new Plugin(module, new WebAssembly.Module(readFileSync(join(folder, `${name}.wasm`))), { embed, ...options });

function expect(what, found, expected) {
  if (!Buffer.from(found).equals(Buffer.from(expected))) throw new Error(`${what} gave ${found.length} bytes: ${Buffer.from(found)}`);
}

const checks = {
  echo() {
    const plugin = load("echo");
    for (const size of [0, 1, 7, 8, 65536, 1000003]) expect("echo", plugin.call("echo", pattern(size)), pattern(size));
  },
  count_vowels() {
    const plugin = load("count_vowels");
    for (const total of [3, 6]) {
      const expected = `{"count":3,"total":${total},"vowels":"aeiouAEIOU"}`;
      expect("count_vowels", plugin.call("count_vowels", encode("Hello, World!")), encode(expected));
    }
  },
  configuration() {
    const output = load("count_vowels", { config: { vowels: "o" } }).call("count_vowels", encode("Hello, World!"));
    expect("count_vowels", output, encode('{"count":2,"total":2,"vowels":"o"}'));
  },
  "an error"() {
    const plugin = load("fail");
    let text = "no error";
    try { plugin.call("error_text", encode("no such thing")); } catch (error) { text = error.message; }
    expect("error_text", encode(text), encode("no such thing"));
    expect("succeed", plugin.call("succeed", encode("")), []);
  },
  variables() {
    const plugin = load("vars");
    plugin.call("set", encode("a value"));
    expect("get", plugin.call("get", []), encode("a value"));
    plugin.call("delete", []);
    expect("get", plugin.call("get", []), []);
  },
  "a function of the embedder"() {
    expect("greet", load("host-functions").call("greet", encode("Benjamin")), encode("Hello, Benjamin!"));
  },
  numbers() {
    expect("add", load("host-functions").call("add", []), [42]);
  },
  "a handle there and back"() {
    const plugin = load("handle_echo");
    for (const text of ["there and back", "again"]) expect("handle_echo", plugin.call("handle_echo", encode(text)), encode(text));
  },
  "log levels"() {
    const all = ["trace:t", "debug:d", "info:i", "warn:w", "error:e"];
    for (const logLevel of [0, 3]) {
      const messages = [];
      const plugin = load("log", { logLevel, log: (level, text) => messages.push(`${level}:${text}`) });
      expect("level", plugin.call("level", []), encode(`${logLevel}`));
      expect("log_each_level", plugin.call("log_each_level", []), encode("0")); // the last message's length: it was freed
      expect("the log", encode(messages.join()), encode(all.slice(logLevel).join()));
    }
  },
};

function hostContext() {
  const plugin = load("host-functions");
  for (const [word, greeting] of [["Bonjour", "Bonjour"], ["Salut", "Salut"], [null, "Hello"]]) {
    expect("greet", plugin.call("greet", encode("Benjamin"), word), encode(`${greeting}, Benjamin!`));
  }
}

function fourPages() {
  const module = new WebAssembly.Module(limited(bytes, 4));
  expect("echo", load("echo", {}, module).call("echo", pattern(65536)), pattern(65536));
  const handle = new Kernel(module).exports.alloc(1048576n);
  if (handle !== 0n) throw new Error(`alloc gave ${handle}`);
}

/** The median, in microseconds. */
function callTime() {
  const plugin = load("echo"), input = pattern(4096), times = [];
  for (let i = 0; i < 220; i++) {
    const start = process.hrtime.bigint();
    plugin.call("echo", input);
    times.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  const sorted = times.slice(20).sort((a, b) => a - b);
  return Math.round((sorted[99] + sorted[100]) * 5) / 10;
}

function trace() {
  const { exports: k } = new Kernel(kernel);
  let state = 2463534242;
  const next = () => {
    state ^= state << 13, state ^= state >>> 17, state ^= state << 5;
    return state >>> 0;
  };
  // 64 bits times a prime of 2^40 + 435, in two halves: BigInts would take a minute over all bytes.
  const start = 14695981039346656037n;
  let high = Number(start >> 32n), low = Number(start & 0xffffffffn);
  const add = (byte) => {
    low = (low ^ byte) >>> 0;
    const product = low * 435; // below 2^41
    high = (Math.imul(high, 435) + Math.floor(product / 2 ** 32) + (low << 8)) >>> 0;
    low = product >>> 0;
  };
  const handles = new Array(64).fill(0n);
  for (let step = 0; step < 12000; step++) {
    const r = next(), a = next(), i = (r >>> 8) % 64, h = handles[i], at = (n) => h + BigInt(a % n);
    const choice = r % 16;
    let result;
    if (choice < 5) result = handles[i] = k.alloc(BigInt(a % (choice < 4 ? 600 : 20000)));
    else if (choice < 8) result = k.free(h);
    else if (choice === 8) result = k.length(h);
    else if (choice === 9) result = k.store_u8(at(64), a);
    else if (choice === 10) result = k.store_u64(at(512), (BigInt(a) << 32n) + BigInt(r));
    else if (choice === 11) result = k.load_u8(at(64));
    else if (choice === 12) result = k.load_u64(BigInt(a));
    else if (choice === 13) k.output_set(h, BigInt(a % 64)), result = k.output_length();
    else if (choice === 14) k.input_set(h, BigInt(a % 700)), result = k.input_load_u64(BigInt(r % 700));
    else {
      k.error_set(h);
      if (a % 256 === 0) k.reset();
      result = k.error_get();
    }
    const eight = Buffer.alloc(8);
    eight.writeBigUInt64LE(BigInt.asUintN(64, BigInt(result ?? 0)));
    eight.forEach(add);
  }
  new Uint8Array(k.memory.buffer).forEach(add);
  return [high, low].map((half) => half.toString(16).padStart(8, "0")).join("");
}

/** What a part gives, or null if it fails, which is told. */
function attempt(what, part) {
  try {
    return part() ?? true;
  } catch (error) {
    console.error(`v8: FAILED ${what}: ${error.message}`);
    return null;
  }
}

const line = { engine: "v8", version: process.versions.v8, ...cases() };
line.plugins = Object.keys(checks).length;
line.plugins_failed = Object.entries(checks).filter(([what, check]) => attempt(`plugins, ${what}`, check) === null).length;
line.call_us = attempt("the time of a call", callTime);
line.hash = attempt("the trace", trace);
line.four_pages = attempt("four pages", fourPages) !== null;
line.context = hasContext ? attempt("the host context", hostContext) !== null : null;
console.log(JSON.stringify(line));
const good = line.failed === 0 && line.plugins_failed === 0 && line.call_us !== null && line.hash !== null;
process.exitCode = good && line.four_pages && line.context !== false ? 0 : 1;
