"""Shows the kernel on Wasm3: main.py KERNEL.wasm CONFORMANCE.json PLUGINS"""

import sys
from pathlib import Path

import wasm3

sys.path.append(str(Path(__file__).parent.parent / "python"))

import conformance
import runner
from host import STACK_BYTES, Plugin, PluginError

I32 = 1  # in Wasm3's numbers of types

# (module (import "" "" (memory 0)) (func (export "grow") (param i32) (result i32) local.get 0 memory.grow))
GROW = bytes.fromhex(
    "0061736d01000000" "010601 60017f017f" "020601000002 0000" "03020100" "0708010467726f770000" "0a080106002000 40000b"
)


def sections(module):
    """Each section of a module: its number, the offset of its first byte, its content."""
    at = 8
    while at < len(module):
        size, start = leb(module, at + 1)
        yield module[at], at, module[start : start + size]
        at = start + size


def leb(data, at):
    """The number at an offset, and where it ends."""
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return number, at


def to_leb(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + to_leb(number >> 7)


def limited(module, spare):
    """The module with a maximum for its memory, as Python can't give Wasm3 a limit."""
    for number, at, content in sections(module):
        if number == 5:
            initial, _ = leb(content, 2)
            memory = b"\x01\x01" + to_leb(initial) + to_leb(initial + spare)
            end = at + 1 + len(to_leb(len(content))) + len(content)
            return module[:at] + b"\x05" + to_leb(len(memory)) + memory + module[end:]


class Kernel:
    """The kernel alone, as the conformance cases see it: unsigned numbers."""

    def __init__(self, module, spare=None):
        self.module = module
        environment = wasm3.Environment()
        self.runtime = environment.new_runtime(STACK_BYTES)
        self.runtime.load(environment.parse_module(module if spare is None else limited(module, spare)))
        # Python can't grow a memory. But a runtime has one memory, and any module in it may.
        self.runtime.load(environment.parse_module(GROW))

    def call(self, name, *args):
        function = self.runtime.find_function(name)
        kinds = zip(args, function.arg_types, strict=True)
        result = function(*(runner.signed(value, 32 if kind == I32 else 64) for value, kind in kinds))
        return 0 if result is None else result % (2**32 if function.ret_types[0] == I32 else 2**64)

    def size(self):
        return len(self.runtime.get_memory(0))

    def read(self, at, length):
        return bytes(self.runtime.get_memory(0)[at : at + length])

    def write(self, at, data):
        self.runtime.get_memory(0)[at : at + len(data)] = data

    def grow(self, pages):
        if self.runtime.find_function("grow")(pages) < 0:
            raise conformance.Failure("the memory can't grow")

    def export_names(self):
        """Wasm3 tells no names, so they are read from section 7: a vector of (name, kind, index)."""
        for number, _, content in sections(self.module):
            if number == 7:
                count, at = leb(content, 0)
                for _ in range(count):
                    length, at = leb(content, at)
                    yield content[at : at + length].decode()
                    _, at = leb(content, at + length + 1)

    def context(self, what):
        """Wasm3 has no externref: the file for it must be without."""
        return "extism_context" not in self.export_names()


if __name__ == "__main__":
    # Neither external references nor, from Python, a limit.
    runner.main("wasm3", wasm3.M3_VERSION, Kernel, Plugin, PluginError, has_context=False, limit=None)
