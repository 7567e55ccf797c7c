// A plugin's calls on V8, in Node.js and in a browser, and how they are timed.

/** As usual: two instances. */
function usual(kernelModule, pluginModule) {
  const kernel = new WebAssembly.Instance(kernelModule).exports;
  const plugin = new WebAssembly.Instance(pluginModule, { "extism:host/env": kernel }).exports;
  const bytes = view(kernel.memory);
  return (input) => {
    kernel.error_set(0n);
    kernel.reset();
    const handle = kernel.alloc(BigInt(input.length));
    bytes().set(input, Number(handle));
    kernel.input_set(handle, BigInt(input.length));
    plugin.echo();
    const offset = Number(kernel.output_offset());
    const length = Number(kernel.output_length());
    kernel.length(kernel.error_get());
    return bytes().slice(offset, offset + length);
  };
}

// README: begin
/** The bytes of a memory. To make two of them took a third of a call with 4 KiB, so it stays; when the memory grows it gets empty. */
function view(memory) {
  let bytes = new Uint8Array(memory.buffer);
  return () => (bytes.length ? bytes : (bytes = new Uint8Array(memory.buffer)));
}

/** One module: your own functions are its only imports. */
function linked(module, imports = {}) {
  const plugin = new WebAssembly.Instance(module, imports).exports;
  const exported = (name) => plugin["extism:kernel/" + name];
  const begin = exported("begin"), end = exported("end"), memory = exported("memory");
  const base = () => (exported("base")?.value ?? 0) >>> 0; // in one memory it moves when the plugin's part grows
  const bytes = view(memory);
  return (input) => {
    const handle = begin(BigInt(input.length));
    if (handle) bytes().set(input, base() + Number(handle));
    plugin.echo();
    const [offset, length, error, errorLength] = end();
    const range = (offset, length) => bytes().slice(base() + Number(offset), base() + Number(offset + length));
    if (errorLength) throw new Error(new TextDecoder().decode(range(error, errorLength)));
    return range(offset, length);
  };
}
// README: end

export const isLinked = (module) => WebAssembly.Module.exports(module).some(({ name }) => name === "extism:kernel/begin");

/** A function that calls echo, of a module that is linked or of a kernel. */
export const open = (module, plugin) => (isLinked(module) ? linked(module) : usual(module, plugin));

/** An input, of which it was seen that each call gives it back. */
export function checked(size, calls) {
  const input = Uint8Array.from({ length: size }, (_, i) => i * 7);
  for (const call of calls) {
    if (call(input).some((byte, at) => byte !== input[at])) throw new Error("the output is not the input");
  }
  return input;
}

const SIZES = [64, 4096, 1 << 20];
/** A batch takes so many microseconds at least. */
const BATCH = 60_000;
const [ROUNDS, WARM_UP] = [15, 10];

/** Prints the microseconds of a call, for each name and size. `time(at, size, calls)` gives those of so many calls of one of the names. */
export async function measure(engine, names, time) {
  for (const size of SIZES) {
    const times = names.map(() => []), batches = [];
    for (const at of names.keys()) {
      let calls = 1;
      // The clock has steps of milliseconds.
      for (let last = 0; (last = await time(at, size, calls)) < BATCH; ) calls *= last > BATCH / 16 ? Math.ceil(BATCH / last) : 8;
      batches.push(calls);
    }
    // V8 begins with code that its fast compiler made, and replaces it while that runs.
    for (let round = 0; round < WARM_UP + ROUNDS; round++) {
      for (const at of names.keys()) {
        const one = (await time(at, size, batches[at])) / batches[at];
        if (round >= WARM_UP) times[at].push(one);
      }
    }
    for (const [at, name] of names.entries()) {
      const median = times[at].sort((a, b) => a - b)[ROUNDS >> 1];
      console.log(`${engine} ${name} ${size} ${median.toFixed(4)}`);
    }
  }
}
