"""Shows the kernel on Wasmtime, from Python: main.py KERNEL.wasm CONFORMANCE.json PLUGINS"""

import sys
from importlib.metadata import version
from pathlib import Path

from wasmtime import Engine, Instance, Module, Store, Val, ValType

sys.path.append(str(Path(__file__).parent.parent / "python"))

import conformance
import runner
from host import Plugin, PluginError

PAGE = conformance.PAGE
ENGINE = Engine()


class Kernel:
    """The kernel alone, as the conformance cases see it: unsigned numbers."""

    def __init__(self, kernel, spare=None):
        self.module = Module(ENGINE, kernel)
        self.store = Store(ENGINE)
        if spare is not None:
            initial = next(export.type.limits.min for export in self.module.exports if export.name == "memory")
            self.store.set_limits(memory_size=(initial + spare) * PAGE)
        exports = Instance(self.store, self.module, []).exports(self.store)
        self.functions = {name: (exports[name], exports[name].type(self.store)) for name in self.export_names("func")}
        self.memory = exports["memory"]
        self.global_ = exports.get("extism_context")
        self.object = object()

    def export_names(self, kind=""):
        return [export.name for export in self.module.exports if kind in type(export.type).__name__.lower()]

    def call(self, name, *args):
        function, kind = self.functions[name]
        bits = [32 if param == ValType.i32() else 64 for param in kind.params]
        result = function(self.store, *map(runner.signed, args, bits))
        return 0 if result is None else result % (2**32 if kind.results[0] == ValType.i32() else 2**64)

    def size(self):
        return self.memory.data_len(self.store)

    def read(self, at, length):
        return bytes(self.memory.read(self.store, at, at + length))

    def write(self, at, data):
        self.memory.write(self.store, data, at)

    def grow(self, pages):
        self.memory.grow(self.store, pages)

    def context(self, what):
        if not self.global_:
            return True
        if what == "set":
            self.global_.set_value(self.store, Val.externref(self.object))
        found = self.global_.value(self.store)
        if what == "null":
            return isinstance(found, Val) and found.value is None
        return found is self.object


if __name__ == "__main__":
    limit = {"memory_bytes": 4 * PAGE}
    runner.main("wasmtime-py", version("wasmtime"), Kernel, Plugin, PluginError, has_context=True, limit=limit)
