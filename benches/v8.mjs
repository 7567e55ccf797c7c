// Times the rows of rows.json on V8: node v8.mjs OURS.wasm PEER.wasm PLUGIN.wasm
// Prints one line of JSON a row: nanoseconds of each repetition, of the first kernel and of the second, which take turns.
import { readFileSync } from "node:fs";

const [ours, peer, plugin] = process.argv.slice(2).map((file) => new WebAssembly.Module(readFileSync(file)));
const rows = JSON.parse(readFileSync(new URL("rows.json", import.meta.url)));

function link(module) {
  const kernel = new WebAssembly.Instance(module).exports;
  return { kernel, plugin: new WebAssembly.Instance(plugin, { "extism:host/env": kernel }).exports };
}

const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Nanoseconds of CPU time; of the thread alone where Node.js tells it. */
function cpu() {
  // Linux brings this clock up to date when a thread stops running, otherwise every few ms only.
  Atomics.wait(nobody, 0, 0, 0.1);
  const { user, system } = process.threadCpuUsage ? process.threadCpuUsage() : process.cpuUsage();
  return (user + system) * 1000;
}

/** A whole call of a plugin that outputs its input, as hosts do it. */
function call({ kernel, plugin }, input) {
  kernel.error_set(0n);
  kernel.reset();
  let handle = 0n;
  if (input.length > 0) {
    handle = kernel.alloc(BigInt(input.length));
    new Uint8Array(kernel.memory.buffer).set(input, Number(handle));
  }
  kernel.input_set(handle, BigInt(input.length));
  plugin.echo();
  const offset = Number(kernel.output_offset());
  const length = Number(kernel.output_length());
  kernel.length(kernel.error_get());
  return new Uint8Array(kernel.memory.buffer).slice(offset, offset + length);
}

/** Returns a function that does one repetition and returns the nanoseconds of one run. */
function turn(module, { before, run: [name, ...args], runs }) {
  let run;
  let prepare = () => {};
  if (name === "instantiate") {
    run = () => new WebAssembly.Instance(module);
  } else {
    const linked = link(module);
    if (name === "call") {
      const input = new Uint8Array(args[0]).fill(7);
      if (Buffer.compare(call(linked, input), input) !== 0) throw new Error("the output is not the input");
      run = () => call(linked, input);
    } else {
      prepare = () => before.forEach(([name, ...args]) => linked.plugin[name](...args));
      run = () => linked.plugin[name](...args);
    }
  }
  return () => {
    prepare();
    const cpuStart = cpu();
    const start = process.hrtime.bigint();
    for (let i = 0; i < runs; i++) run();
    const time = Number(process.hrtime.bigint() - start);
    const cpuTime = cpu() - cpuStart;
    // Waking up costs 10 µs of CPU time, which are too many in less than this.
    return (time < 1_000_000 ? time : cpuTime) / runs;
  };
}

for (const row of rows) {
  const turns = [ours, peer].map((module) => turn(module, row));
  const times = [[], []];
  // More than on Wasmtime: V8 begins with code that its fast compiler made, and replaces it while that runs.
  const warmUp = Math.max(5, row.repetitions / 5);
  for (let i = 0; i < warmUp + row.repetitions; i++) {
    for (const which of i % 2 ? [1, 0] : [0, 1]) {
      const time = turns[which]();
      if (i >= warmUp) times[which].push(time);
    }
  }
  console.log(JSON.stringify(times));
}
