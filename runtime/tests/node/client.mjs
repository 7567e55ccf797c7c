// What a Node.js program sees of libextism through koffi: client.mjs LIBRARY PLUGIN
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const [library, wat] = process.argv.slice(2);
const koffi = createRequire(`${process.env.PACKAGES}/`)("koffi");
const lib = koffi.load(library);

for (const name of ["ExtismPlugin", "ExtismCurrentPlugin", "ExtismFunction", "ExtismCancelHandle"]) koffi.opaque(name);
koffi.proto("void HostFunction(ExtismCurrentPlugin *plugin, const void *in, uint64_t n_in, void *out, uint64_t n_out, void *data)");
koffi.proto("void Release(void *data)");
const c = (declaration) => lib.func(declaration);
const version = c("const char *extism_version()");
const functionNew = c(
  "ExtismFunction *extism_function_new(const char *name, const int *in, uint64_t n_in, const int *out, uint64_t n_out, HostFunction *f, void *data, Release *release)",
);
const functionNamespace = c("void extism_function_set_namespace(ExtismFunction *function, const char *name)");
const functionFree = c("void extism_function_free(ExtismFunction *function)");
const pluginNew = c(
  "ExtismPlugin *extism_plugin_new(const uint8_t *wasm, uint64_t size, ExtismFunction **functions, uint64_t n, bool wasi, _Out_ void **error)",
);
const errorFree = c("void extism_plugin_new_error_free(void *error)");
const pluginFree = c("void extism_plugin_free(ExtismPlugin *plugin)");
const pluginCall = c("int extism_plugin_call(ExtismPlugin *plugin, const char *name, const uint8_t *data, uint64_t size)");
const pluginError = c("const char *extism_plugin_error(ExtismPlugin *plugin)");
const outputLength = c("uint64_t extism_plugin_output_length(ExtismPlugin *plugin)");
const outputData = c("void *extism_plugin_output_data(ExtismPlugin *plugin)");
const exists = c("bool extism_plugin_function_exists(ExtismPlugin *plugin, const char *name)");
const cancelHandle = c("ExtismCancelHandle *extism_plugin_cancel_handle(ExtismPlugin *plugin)");
const cancel = c("bool extism_plugin_cancel(ExtismCancelHandle *handle)");
const memory = c("void *extism_current_plugin_memory(ExtismCurrentPlugin *plugin)");
const memoryLength = c("uint64_t extism_current_plugin_memory_length(ExtismCurrentPlugin *plugin, uint64_t handle)");
const memoryAlloc = c("uint64_t extism_current_plugin_memory_alloc(ExtismCurrentPlugin *plugin, uint64_t size)");

const [I32, I64, F32, F64] = [0, 1, 2, 3];
// A value is 16 bytes, with what it is of a type in the first half, what it is in the second.
const get = (values, i, type) => koffi.decode(values, i * 16 + 8, type);
const set = (values, i, type, value) => koffi.encode(values, i * 16 + 8, type, value);
const bytes = (address, length) => Buffer.from(new Uint8Array(koffi.view(address, Number(length))));
const block = (plugin, handle) => bytes(memory(plugin) + BigInt(handle), memoryLength(plugin, handle)).toString();

const notes = [];
let ticks = 0;
let released = 0;
const release = koffi.register(() => released++, "Release *");
const host = {
  shout: (plugin, inputs, nIn, outputs) => {
    const text = Buffer.from(`Hello, ${block(plugin, get(inputs, 0, "int64_t")).toUpperCase()}`);
    const handle = memoryAlloc(plugin, text.length);
    koffi.encode(memory(plugin) + BigInt(handle), "uint8_t", text, text.length);
    set(outputs, 0, "int64_t", handle);
  },
  note: (plugin, inputs, nIn, outputs, nOut) => {
    assert.deepEqual([outputs, Number(nOut)], [null, 0], "results of note");
    notes.push(block(plugin, get(inputs, 0, "int64_t")));
  },
  tick: (plugin, inputs, nIn) => {
    assert.deepEqual([inputs, Number(nIn)], [null, 0], "parameters of tick");
    ticks++;
  },
  add: (plugin, inputs, nIn, outputs) => {
    const numbers = ["int32_t", "int64_t", "float", "double"].map((type, i) => Number(get(inputs, i, type)));
    set(outputs, 0, "double", numbers.reduce((a, b) => a + b));
  },
};
const types = { shout: [[I64], [I64]], note: [[I64], []], tick: [[], []], add: [[I32, I64, F32, F64], [F64]] };

function plugin(wasm, names = Object.keys(host)) {
  const callbacks = names.map((name) => koffi.register(host[name], "HostFunction *"));
  const functions = names.map((name, i) => {
    const [inputs, outputs] = types[name];
    // Any data but NULL is released.
    const made = functionNew(name, inputs, inputs.length, outputs, outputs.length, callbacks[i], callbacks[i], release);
    assert.ok(made, `function ${name}`);
    if (name === "add") functionNamespace(made, "sums");
    return made;
  });
  const error = [null];
  const made = pluginNew(wasm, wasm.length, functions, functions.length, true, error);
  functions.forEach(functionFree);
  if (made === null) {
    const text = koffi.decode.string(error[0]);
    errorFree(error[0]);
    callbacks.forEach(koffi.unregister);
    throw new Error(text);
  }
  const output = (status) => {
    if (status !== 0) throw new Error(`${status}: ${pluginError(made)}`);
    return bytes(outputData(made), outputLength(made));
  };
  return {
    handle: made,
    call: (name, input) => output(pluginCall(made, name, Buffer.from(input), Buffer.byteLength(input))),
    // In another thread, while this one goes on. Without host functions: koffi 3.3.4 loses their results there.
    async callAsync(name, input) {
      return output(await promisify(pluginCall.async)(made, name, Buffer.from(input), Buffer.byteLength(input)));
    },
    free() {
      pluginFree(made);
      callbacks.forEach(koffi.unregister);
    },
  };
}

// V8 makes its own errors of the signals that WebAssembly's traps are: (module (memory 1) (func (export "f") an i32.load far outside))
const outOfBounds = new WebAssembly.Instance(
  new WebAssembly.Module(
    Buffer.from("0061736d01000000010401600000030201000503010001070501016600000a0e010c00418080fcff072802001a0b", "hex"),
  ),
).exports.f;

const wasm = readFileSync(wat);
assert.match(version(), /^1\./);
assert.throws(() => plugin(Buffer.from("nonsense"), []), /^Error: Unable to compile Extism plugin: Unknown manifest format/);
assert.throws(() => plugin(wasm, ["shout"]), /unknown import: `/);
assert.equal(released, 1, "data released of a plugin that couldn't be made");

const p = plugin(wasm);
assert.equal(exists(p.handle, "greet"), true, "greet exists");
assert.equal(exists(p.handle, "none"), false, "none exists");
assert.equal(p.call("greet", "Ada").toString(), "Hello, ADA");
assert.equal(p.call("echo", "").toString(), "");
p.call("tell", "a note");
assert.deepEqual([notes, ticks], [["a note"], 1], "what host functions without results did");
assert.equal(p.call("add", "").readDoubleLE(), 2 ** 32 - 1 + 0.5 + 0.25);

assert.throws(() => p.call("fail", "plain text"), /^Error: 3: plain text$/);
assert.throws(() => p.call("none", ""), /^Error: -1: Function not found: none$/);
for (let i = 0; i < 100; i++) {
  assert.throws(outOfBounds, WebAssembly.RuntimeError);
  assert.throws(() => p.call("unreachable", ""), /^Error: 134: [^]*wasm `unreachable` instruction executed/);
  assert.throws(() => p.call("out_of_bounds", ""), /out of bounds memory access/);
  assert.throws(() => p.call("divide", ""), /integer divide by zero/);
  assert.throws(() => p.call("overflow", ""), /call stack exhausted/);
}
assert.equal((await p.callAsync("echo", "Ada")).toString(), "Ada", "echo in another thread");

const handle = cancelHandle(p.handle);
const spinning = assert.rejects(p.callAsync("spin", ""), /^Error: 134: timeout$/);
await sleep(100);
assert.equal(cancel(handle), true, "cancel of a running call");
await spinning;
assert.equal(p.call("greet", "Ada").toString(), "Hello, ADA", "greet after a cancel");
assert.equal(released, 1, "data released before their plugin");
p.free();
assert.equal(released, 5, "data released with their plugin");
assert.equal(cancel(handle), false, "cancel of a plugin that was freed");
console.log("Node.js: all as it should be");
