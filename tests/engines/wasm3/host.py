"""A host for Extism plugins on Wasm3, to copy from: what a plugin imports, and how it is called."""

from functools import partial

import wasm3

KERNEL_EXPORTS = (
    "alloc free length length_unsafe load_u8 load_u64 store_u8 store_u64 input_set input_offset input_length"
    " input_load_u8 input_load_u64 output_set output_offset output_length error_set error_get memory_bytes reset"
).split()
LOG_LEVELS = "trace", "debug", "info", "warn", "error"
STACK_BYTES = 1 << 20


class PluginError(Exception):
    """The call failed; the text is the plugin's own, or what the engine says of a trap."""


class Plugin:
    """A plugin with a kernel of its own.

    config: what config_get finds.  functions: the embedder's own, {(module, name): function of (plugin, arguments)}.
    log: function of (level, text), called for levels from log_level on; 0 is trace, 4 is error.

    Wasm3 knows no external references, so there is no host context. It has numbers signed: a kernel's are below
    2^32 where the plugin behaves, so only sizes have to be checked.
    """

    def __init__(self, kernel, plugin, config=None, functions=None, log=lambda level, text: None, log_level=2):
        self.config = config or {}
        self.log = log
        self.log_level = log_level
        self.vars = {}
        # README: begin
        environment = wasm3.Environment()
        # Kernel and plugin each have a runtime: modules in one runtime would share its memory and its stack.
        self.kernel = environment.new_runtime(STACK_BYTES)
        self.kernel.load(environment.parse_module(kernel))  # it imports nothing
        self.exports = {name: self.kernel.find_function(name) for name in KERNEL_EXPORTS}
        self.plugin = environment.new_runtime(STACK_BYTES)
        module = environment.parse_module(plugin)
        self.plugin.load(module)
        # The kernel's exports are imports of the plugin, under the same module name as the host's functions.
        for name, function in (self.exports | self._environment()).items():
            module.link_function("extism:host/env", name, function)
        for (namespace, name), function in (functions or {}).items():
            module.link_function(namespace, name, partial(function, self))
        # README: end
        # What the plugin's language wants before the first call: its constructors, which the one calls as the other
        # does, then Haskell's runtime.
        if constructors := self._function("_initialize") or self._function("__wasm_call_ctors"):
            constructors()
        if hs_init := self._function("hs_init"):
            hs_init(0, 0)

    def call(self, name, data=b""):
        """Calls a function of the plugin: its output."""
        function = self._function(name)
        if not function:
            raise PluginError(f"the plugin has no function {name}")
        kernel = self.exports
        kernel["error_set"](0)
        kernel["reset"]()
        kernel["input_set"](self.alloc(data), len(data))
        trap, code = None, 0
        try:
            code = function()
        except RuntimeError as error:  # so Wasm3 tells of traps, and host functions of errors
            trap = error
        if (error := kernel["error_get"]()) and kernel["length"](error):
            raise PluginError(self.read(error).decode(errors="replace")) from trap
        if trap:
            raise PluginError(str(trap)) from trap
        if code:
            raise PluginError(f"{name} returned {code}")
        return self._bytes(kernel["output_offset"](), kernel["output_length"]())

    def read(self, handle):
        """A copy of the block at a handle; empty, if it isn't one."""
        return self._bytes(handle, self.exports["length"](handle))

    def take(self, handle):
        """Like read, for a function's arguments, which belong to the function: frees the block."""
        data = self.read(handle)
        self.exports["free"](handle)
        return data

    def alloc(self, data):
        """A block with these bytes, for a function's result, which is the plugin's to free."""
        if not data:
            return 0
        handle = self.exports["alloc"](len(data))
        if not handle:
            raise RuntimeError(f"the kernel has no room for {len(data)} bytes")
        self._memory()[handle : handle + len(data)] = data
        return handle

    def _bytes(self, offset, length):
        memory = self._memory()
        if not 0 <= offset <= offset + length <= len(memory):
            raise RuntimeError(f"{length} bytes at {offset} are not in the kernel's memory")
        return bytes(memory[offset : offset + length])

    def _memory(self):
        return self.kernel.get_memory(0)  # anew each time: growing moves it

    def _function(self, name):
        try:
            return self.plugin.find_function(name)
        except RuntimeError:
            return None

    def _environment(self):
        """What every host offers beside the kernel's exports. Each function owns the blocks that it is given."""

        def config_get(key):
            return self.alloc(self.config.get(self.take(key).decode(), "").encode())

        def var_get(key):
            return self.alloc(self.vars.get(self.take(key), b""))

        def var_set(key, value):
            data = self.read(value)  # before either is freed, as they may be the same block
            name = self.take(key)
            if value:
                self.vars[name] = data
                self.exports["free"](value)
            else:
                self.vars.pop(name, None)

        def http_request(request, body):
            raise RuntimeError("HTTP requests are not allowed by this host")

        def log(level, message):
            text = self.take(message).decode(errors="replace")
            if level >= self.log_level:
                self.log(level, text)

        functions = {
            "config_get": config_get,
            "var_get": var_get,
            "var_set": var_set,
            "http_request": http_request,
            "http_status_code": lambda: 0,
            "http_headers": lambda: 0,
            "get_log_level": lambda: self.log_level,
        }
        return functions | {f"log_{name}": partial(log, level) for level, name in enumerate(LOG_LEVELS)}
