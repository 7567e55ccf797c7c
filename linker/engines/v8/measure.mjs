// node measure.mjs [--no-copies] PLUGIN.wasm NAME=FILE...: times calls of echo, as linked-engines does for engines in Rust; or only what is
// WebAssembly's of them, without the copies of the bytes in and out, which take JavaScript their time however the plugin is linked.
import { readFileSync } from "node:fs";
import { checked, isLinked, measure, open } from "./echo.mjs";

const copies = process.argv[2] !== "--no-copies";
const [pluginFile, ...files] = process.argv.slice(copies ? 2 : 3);
const compile = (file) => new WebAssembly.Module(readFileSync(file));
const plugin = compile(pluginFile);
const subjects = files.map((file) => file.split("="));
const calls = subjects.map(([, path]) => (copies ? open : openWithoutCopies)(compile(path), plugin));

/** A function that takes an input's length in place of the input, and throws where the output's is another. */
function openWithoutCopies(module, plugin) {
  const same = (output, length) => {
    if (output !== length) throw new Error(`the output has ${output} bytes instead of ${length}`);
  };
  if (isLinked(module)) {
    const { echo, ["extism:kernel/begin"]: begin, ["extism:kernel/end"]: end } = new WebAssembly.Instance(module).exports;
    return (length) => {
      begin(length);
      echo();
      same(end()[1], length);
    };
  }
  const kernel = new WebAssembly.Instance(module).exports;
  const { echo } = new WebAssembly.Instance(plugin, { "extism:host/env": kernel }).exports;
  return (length) => {
    kernel.error_set(0n);
    kernel.reset();
    kernel.input_set(kernel.alloc(length), length);
    echo();
    kernel.output_offset();
    same(kernel.output_length(), length);
    kernel.length(kernel.error_get());
  };
}

/** CPU time of this thread in microseconds, from Linux: what Node.js tells has steps of milliseconds. */
const clock = () => Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]) / 1000;

const inputs = new Map();
await measure(copies ? "v8" : "v8-no-copies", subjects.map(([name]) => name), (at, size, count) => {
  if (!inputs.has(size)) inputs.set(size, copies ? checked(size, calls) : BigInt(size));
  const [call, input] = [calls[at], inputs.get(size)];
  const start = clock();
  for (let i = 0; i < count; i++) call(input);
  return clock() - start;
});
