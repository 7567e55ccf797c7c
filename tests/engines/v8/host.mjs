// A host for Extism plugins in plain JavaScript, to copy from. Left out: HTTP, WASI, and a limit on what variables may take.

const LEVELS = ["trace", "debug", "info", "warn", "error"];
const utf8 = new TextDecoder();
/** JavaScript's BigInts of WebAssembly are signed, offsets and lengths are not. */
const unsigned = (n) => Number(BigInt.asUintN(64, n));

/** The kernel as its host sees it. */
export class Kernel {
  /** Every plugin gets an instance of its own. */
  constructor(module) {
    this.exports = new WebAssembly.Instance(module).exports; // no imports
  }

  /** A copy of the bytes there. Both numbers can come from the plugin, and be anything. */
  bytes(offset, length) {
    const { buffer } = this.exports.memory; // another one after each growth
    if (unsigned(offset) + unsigned(length) > buffer.byteLength) throw new RangeError(`${length} bytes at ${offset} are outside`);
    return new Uint8Array(buffer).slice(unsigned(offset), unsigned(offset) + unsigned(length));
  }

  /** A copy of a block; nothing for 0, which is the handle of an empty one. */
  read(handle) {
    return this.bytes(handle, this.exports.length(handle));
  }

  /** The same, and frees the block: a host function owns those that it is given. */
  take(handle) {
    const bytes = this.read(handle);
    this.exports.free(handle);
    return bytes;
  }

  /** A new block with these bytes: an input, or a result of a host function, which is the plugin's then. */
  write(bytes) {
    const handle = this.exports.alloc(BigInt(bytes.length));
    if (handle === 0n && bytes.length > 0) throw new Error(`the kernel has no room for ${bytes.length} bytes`);
    new Uint8Array(this.exports.memory.buffer).set(bytes, unsigned(handle));
    return handle;
  }

  /** What the embedder passed to this call. Its global holds any JavaScript value. */
  get context() {
    return this.exports.extism_context?.value ?? null;
  }

  /** `extism-runtime-mvp.wasm` has no such global. */
  set context(value) {
    if (this.exports.extism_context) this.exports.extism_context.value = value;
  }
}

export class Plugin {
  #kernel;
  #exports;

  /**
   * `kernel` and `plugin` are compiled modules. `embed` gets the kernel and returns the embedder's functions by module name,
   * commonly `extism:host/user`. `log` gets level and text of each message that is at least `logLevel` (0 for trace to 4).
   */
  constructor(kernel, plugin, { config = {}, logLevel = 0, log = () => {}, embed = () => ({}) } = {}) {
    // README: begin
    this.#kernel = new Kernel(kernel); // its `exports` are those of new WebAssembly.Instance(kernel), without imports
    const imports = {
      // All that the kernel exports, for the plugin, and beside it config_get, log_info, ...
      "extism:host/env": { ...this.#kernel.exports, ...hostFunctions(this.#kernel, config, logLevel, log) },
      ...embed(this.#kernel), // your own functions: { "extism:host/user": { ... } }
    };
    this.#exports = new WebAssembly.Instance(plugin, imports).exports;
    // README: end
  }

  /** Calls a function of the plugin. The error is the text that the plugin set, if it did. */
  call(name, input, context = null) {
    const { exports } = this.#kernel;
    if (typeof this.#exports[name] !== "function") throw new Error(`the plugin has no ${name}`);
    exports.error_set(0n);
    exports.reset();
    exports.input_set(this.#kernel.write(input), BigInt(input.length));

    let status = 0, trap;
    this.#kernel.context = context;
    try {
      status = this.#exports[name]() ?? 0;
    } catch (error) {
      trap = error;
    }
    this.#kernel.context = null;

    const text = this.#kernel.read(exports.error_get());
    if (text.length > 0) throw new Error(utf8.decode(text));
    if (trap) throw trap;
    if (status !== 0) throw new Error(`${name} returned ${status}`);
    return this.#kernel.bytes(exports.output_offset(), exports.output_length());
  }
}

/** The functions that every host has beside the kernel's exports. */
function hostFunctions(kernel, config, logLevel, log) {
  const vars = new Map(); // live from call to call, unlike anything in the kernel's memory
  const text = (handle) => utf8.decode(kernel.take(handle));
  const logs = LEVELS.map((level, number) => [
    `log_${level}`,
    (message) => {
      const line = text(message); // taken also when nobody wants it
      if (number >= logLevel) log(level, line);
    },
  ]);
  return {
    ...Object.fromEntries(logs),
    get_log_level: () => logLevel,
    config_get(key) {
      const name = text(key);
      return Object.hasOwn(config, name) ? kernel.write(new TextEncoder().encode(config[name])) : 0n;
    },
    var_get(key) {
      const bytes = vars.get(text(key));
      return bytes ? kernel.write(bytes) : 0n;
    },
    var_set(key, value) {
      const bytes = kernel.read(value); // before the key is freed: they can be the same block
      const name = text(key);
      kernel.exports.free(value);
      if (value === 0n) vars.delete(name);
      else vars.set(name, bytes);
    },
    http_request() {
      throw new Error("this host makes no HTTP requests");
    },
    http_status_code: () => 0,
    http_headers: () => 0n,
  };
}
