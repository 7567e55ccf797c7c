// A host for Extism plugins, to copy from: what a plugin imports, and how it is called. It needs nothing but the
// WebAssembly API of JavaScript, so it runs in browsers, Node.js, Bun and Deno.

const LEVELS = ["trace", "debug", "info", "warn", "error"];

/** The call failed: the message is the plugin's own, or what the engine says of a trap. */
export class PluginError extends Error {}

/** A plugin with a kernel of its own. */
export class Plugin {
  #vars = new Map();

  /**
   * kernel, plugin: the bytes. Of the options,
   * config: {key: value}, for config_get;
   * functions: {module: {name: function of the plugin and the arguments}}, the embedder's own;
   * log: function of level and text, called for levels from logLevel on; 0 is trace, 4 is error.
   */
  static async load(kernel, plugin, { config = {}, functions = {}, log = () => {}, logLevel = 2 } = {}) {
    const host = new Plugin();
    Object.assign(host, { config, log, logLevel });
    const bind = (module) => mapValues(module, (body) => (...args) => body(host, ...args));
    // README: begin
    // The kernel imports nothing. All its exports are imports of the plugin, under the same module name as the
    // host's own functions; those of the embedder have module names of their own.
    host.kernel = (await WebAssembly.instantiate(kernel)).instance.exports;
    const imports = {
      ...mapValues(functions, bind),
      "extism:host/env": { ...host.kernel, ...host.#environment() },
    };
    host.plugin = (await WebAssembly.instantiate(plugin, imports)).instance.exports;
    // README: end
    // What the plugin's language wants before the first call: its constructors, which the one calls as the other does,
    // then Haskell's runtime.
    (host.plugin._initialize ?? host.plugin.__wasm_call_ctors)?.();
    host.plugin.hs_init?.(0, 0);
    return host;
  }

  /** Calls a function of the plugin: its output. Meanwhile, hostContext() gives that value. */
  call(name, input = new Uint8Array(), context = null) {
    const { kernel } = this;
    if (typeof this.plugin[name] !== "function") throw new PluginError(`the plugin has no function ${name}`);
    kernel.error_set(0n);
    kernel.reset();
    kernel.input_set(this.alloc(input), BigInt(input.length));
    if (kernel.extism_context) kernel.extism_context.value = context;
    let code, trap;
    try {
      code = this.plugin[name]();
    } catch (error) {
      trap = error;
    }
    const error = kernel.error_get();
    if (error && kernel.length(error)) throw new PluginError(text(this.read(error)), { cause: trap });
    if (trap) throw new PluginError(trap.message, { cause: trap });
    if (code) throw new PluginError(`${name} returned ${code}`);
    return this.#bytes(kernel.output_offset(), kernel.output_length());
  }

  /** What was given to the current call: the kernel's global carries it. */
  hostContext() {
    return this.kernel.extism_context?.value;
  }

  /** A copy of the block at a handle; empty, if it isn't one. */
  read(handle) {
    return this.#bytes(handle, this.kernel.length(handle));
  }

  /** Like read, for a function's arguments, which belong to the function: frees the block. */
  take(handle) {
    const bytes = this.read(handle);
    this.kernel.free(handle);
    return bytes;
  }

  /** A block with these bytes, for a function's result, which is the plugin's to free. */
  alloc(bytes) {
    if (!bytes.length) return 0n;
    const handle = this.kernel.alloc(BigInt(bytes.length));
    if (!handle) throw new Error(`the kernel has no room for ${bytes.length} bytes`);
    new Uint8Array(this.kernel.memory.buffer).set(bytes, Number(handle));
    return handle;
  }

  // The buffer is another one after the memory has grown. Numbers are signed: what is far too large is negative.
  #bytes(offset, length) {
    const { buffer } = this.kernel.memory;
    if (offset < 0n || length < 0n || offset + length > buffer.byteLength) {
      throw new Error(`${length} bytes at ${offset} are not in the kernel's memory`);
    }
    return new Uint8Array(buffer, Number(offset), Number(length)).slice();
  }

  /** What every host offers beside the kernel's exports. Each function owns the blocks that it is given. */
  #environment() {
    const none = new Uint8Array();
    const functions = {
      config_get: (key) => this.alloc(bytesOf(this.config[text(this.take(key))] ?? "")),
      var_get: (key) => this.alloc(this.#vars.get(text(this.take(key))) ?? none),
      var_set: (key, value) => {
        const bytes = this.read(value); // before either is freed, as they may be the same block
        const name = text(this.take(key));
        if (value) this.#vars.set(name, bytes), this.kernel.free(value);
        else this.#vars.delete(name);
      },
      http_request: () => {
        throw new Error("HTTP requests are not allowed by this host");
      },
      http_status_code: () => 0,
      http_headers: () => 0n,
      get_log_level: () => this.logLevel,
    };
    LEVELS.forEach((name, level) => {
      functions[`log_${name}`] = (message) => {
        const line = text(this.take(message));
        if (level >= this.logLevel) this.log(level, line);
      };
    });
    return functions;
  }
}

export const text = (bytes) => new TextDecoder().decode(bytes);
export const bytesOf = (string) => new TextEncoder().encode(string);

function mapValues(object, change) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
}
