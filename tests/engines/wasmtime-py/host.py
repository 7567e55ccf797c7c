"""A host for Extism plugins on Wasmtime, to copy from: what a plugin imports, and how it is called."""

from functools import partial

from wasmtime import Engine, Linker, Module, Store, Trap, Val, WasmtimeError

LOG_LEVELS = "trace", "debug", "info", "warn", "error"


class PluginError(Exception):
    """The call failed; the text is the plugin's own, or what the engine says of a trap."""


class Plugin:
    """A plugin with a kernel of its own.

    config: what config_get finds.  functions: the embedder's own, {(module, name): function of (plugin, arguments)}.
    log: function of (level, text), called for levels from log_level on; 0 is trace, 4 is error.
    memory_bytes: the most that any memory may have, the kernel's or the plugin's.
    """

    def __init__(
        self, kernel, plugin, config=None, functions=None, log=lambda level, text: None, log_level=2, memory_bytes=-1
    ):
        self.config = config or {}
        self.log = log
        self.log_level = log_level
        self.vars = {}
        engine = Engine()
        self.store = Store(engine)
        self.store.set_limits(memory_size=memory_bytes)
        functions = {key: partial(function, self) for key, function in (functions or {}).items()}
        functions |= {("extism:host/env", name): function for name, function in self._environment().items()}
        # README: begin
        linker = Linker(engine)
        # The kernel imports nothing. All its exports are imports of the plugin ...
        self.kernel = linker.instantiate(self.store, Module(engine, kernel))
        linker.define_instance(self.store, "extism:host/env", self.kernel)
        # ... under the same module name as the host's functions; the embedder's have names of their own. Which
        # types they have is what the plugin says.
        module = Module(engine, plugin)
        for wanted in module.imports:
            if function := functions.get((wanted.module, wanted.name)):
                linker.define_func(wanted.module, wanted.name, wanted.type, function)
        self.plugin = linker.instantiate(self.store, module)
        # README: end
        # What the plugin's language wants before the first call: its constructors, which the one calls as the other
        # does, then Haskell's runtime.
        exports = self.plugin.exports(self.store)
        if constructors := exports.get("_initialize") or exports.get("__wasm_call_ctors"):
            constructors(self.store)
        if hs_init := exports.get("hs_init"):
            hs_init(self.store, 0, 0)

    def call(self, name, data=b"", host_context=None):
        """Calls a function of the plugin: its output. Meanwhile, host_context() gives that object."""
        function = self.plugin.exports(self.store).get(name)
        if not function:
            raise PluginError(f"the plugin has no function {name}")
        self.kernel_call("error_set", 0)
        self.kernel_call("reset")
        self.kernel_call("input_set", self.alloc(data), len(data))
        if context := self._context():
            context.set_value(self.store, Val.externref(host_context))  # None is null
        trap, code = None, 0
        try:
            code = function(self.store)
        except (Trap, WasmtimeError, RuntimeError) as error:  # the last are those of host functions
            trap = error
        if (error := self.kernel_call("error_get")) and self.kernel_call("length", error):
            raise PluginError(self.read(error).decode(errors="replace")) from trap
        if trap:
            raise PluginError(str(trap)) from trap
        if code:
            raise PluginError(f"{name} returned {code}")
        return self._bytes(self.kernel_call("output_offset"), self.kernel_call("output_length"))

    def host_context(self):
        """The object that was given to the current call, found by the kernel's global."""
        if context := self._context():
            value = context.value(self.store)
            return None if isinstance(value, Val) else value  # null comes as a Val

    def _context(self):
        return self.kernel.exports(self.store).get("extism_context")

    def read(self, handle):
        """A copy of the block at a handle; empty, if it isn't one."""
        return self._bytes(handle, self.kernel_call("length", handle))

    def take(self, handle):
        """Like read, for a function's arguments, which belong to the function: frees the block."""
        data = self.read(handle)
        self.kernel_call("free", handle)
        return data

    def alloc(self, data):
        """A block with these bytes, for a function's result, which is the plugin's to free."""
        if not data:
            return 0
        handle = self.kernel_call("alloc", len(data))
        if not handle:
            raise RuntimeError(f"the kernel has no room for {len(data)} bytes")
        self._memory().write(self.store, data, handle)
        return handle

    def kernel_call(self, name, *args):
        return self.kernel.exports(self.store)[name](self.store, *args)

    def _bytes(self, offset, length):
        # Wasmtime has numbers signed, so what is far too large is negative.
        if not 0 <= offset <= offset + length <= self._memory().data_len(self.store):
            raise RuntimeError(f"{length} bytes at {offset} are not in the kernel's memory")
        return bytes(self._memory().read(self.store, offset, offset + length))

    def _memory(self):
        return self.kernel.exports(self.store)["memory"]

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
                self.kernel_call("free", value)
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
