// node measure.mjs PLUGIN.wasm NAME=FILE...: times calls of echo, as linked-engines does for engines in Rust.
import { readFileSync } from "node:fs";

const [pluginFile, ...files] = process.argv.slice(2);
const compile = (file) => new WebAssembly.Module(readFileSync(file));

/** As usual: two instances. */
function usual(module) {
  const kernel = new WebAssembly.Instance(module).exports;
  const plugin = new WebAssembly.Instance(compile(pluginFile), { "extism:host/env": kernel }).exports;
  return (input) => {
    kernel.error_set(0n);
    kernel.reset();
    const handle = kernel.alloc(BigInt(input.length));
    new Uint8Array(kernel.memory.buffer).set(input, Number(handle));
    kernel.input_set(handle, BigInt(input.length));
    plugin.echo();
    const offset = Number(kernel.output_offset());
    const length = Number(kernel.output_length());
    kernel.length(kernel.error_get());
    return new Uint8Array(kernel.memory.buffer).slice(offset, offset + length);
  };
}

// README: begin
/** One module: your own functions are its only imports. */
function linked(module, imports = {}) {
  const plugin = new WebAssembly.Instance(module, imports).exports;
  const exported = (name) => plugin["extism:kernel/" + name];
  const begin = exported("begin"), end = exported("end"), memory = exported("memory");
  const base = () => (exported("base")?.value ?? 0) >>> 0; // in one memory it moves when the plugin's part grows
  return (input) => {
    const handle = begin(BigInt(input.length));
    if (handle) new Uint8Array(memory.buffer).set(input, base() + Number(handle));
    plugin.echo();
    const [offset, length, error, errorLength] = end();
    const range = (offset, length) => new Uint8Array(memory.buffer).slice(base() + Number(offset), base() + Number(offset + length));
    if (errorLength) throw new Error(new TextDecoder().decode(range(error, errorLength)));
    return range(offset, length);
  };
}
// README: end

const SIZES = [64, 4096, 1 << 20];
const [ROUNDS, WARM_UP, BATCH] = [15, 15, 20000];

const subjects = files.map((file) => {
  const [name, path] = file.split("=");
  const module = compile(path);
  const isLinked = WebAssembly.Module.exports(module).some(({ name }) => name === "extism:kernel/begin");
  return [name, isLinked ? linked(module) : usual(module)];
});

/** CPU time of this thread in microseconds, from Linux: what Node.js tells has steps of milliseconds. */
const clock = () => Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]) / 1000;

/** Microseconds of CPU time of a call. */
function time(call, input, calls) {
  const start = clock();
  for (let i = 0; i < calls; i++) call(input);
  return (clock() - start) / calls;
}

for (const size of SIZES) {
  const input = Uint8Array.from({ length: size }, (_, i) => i * 7);
  for (const [name, call] of subjects) if (Buffer.compare(call(input), input)) throw new Error(`${name}: the output is not the input`);
  const batches = subjects.map(([, call]) => Math.max(1, Math.min(20000, Math.round(BATCH / time(call, input, 20)))));
  const times = subjects.map(() => []);
  // V8 begins with code that its fast compiler made, and replaces it while that runs.
  for (let round = 0; round < WARM_UP + ROUNDS; round++) {
    subjects.forEach(([, call], at) => {
      const one = time(call, input, batches[at]);
      if (round >= WARM_UP) times[at].push(one);
    });
  }
  subjects.forEach(([name], at) => {
    const median = times[at].sort((a, b) => a - b)[ROUNDS >> 1];
    console.log(`v8 ${name} ${size} ${median.toFixed(4)}`);
  });
}
