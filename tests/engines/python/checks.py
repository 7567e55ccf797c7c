"""What plugins show on a host, whose class is Plugin and whose call's failure is PluginError."""

import math
import sys
import time
from pathlib import Path

HELLO = b"Hello, World!"


def expect(found, expected):
    if found != expected:
        raise AssertionError(f"expected {expected!r}, found {found!r}")


def echo(plugin, size):
    data = bytes((i * 31 + i // 251) & 255 for i in range(size))
    if plugin.call("echo", data) != data:
        raise AssertionError(f"{size} bytes came back changed")


def passes(name, body):
    try:
        body()
        return True
    except Exception as error:
        print(f"FAILED {name}: {error!r}", file=sys.stderr)
        return False


class Checks:
    """The checks are the methods that begin with check_."""

    def __init__(self, plugin_class, plugin_error, kernel, folder, has_context):
        self.plugin_class, self.plugin_error = plugin_class, plugin_error
        self.kernel, self.folder = kernel, Path(folder)
        self.has_context = has_context

    def run(self):
        """How many checks there are, and how many failed."""
        names = [name for name in dir(self) if name.startswith("check_")]
        return len(names), [passes(f"plugin {name}", getattr(self, name)) for name in names].count(False)

    def open(self, name, **options):
        return self.plugin_class(self.kernel, (self.folder / f"{name}.wasm").read_bytes(), **options)

    def call_microseconds(self):
        """The median of 200 calls with 4,096 bytes."""
        plugin, data, times = self.open("echo"), bytes(4096), []
        for _ in range(220):
            start = time.perf_counter()
            plugin.call("echo", data)
            times.append(time.perf_counter() - start)
        return round(sorted(times[20:])[100] * 1e6, 1)

    def check_echo(self):
        plugin = self.open("echo")
        for size in 0, 1, 7, 8, 65536, 1000003:
            echo(plugin, size)

    def check_count_vowels(self):
        plugin = self.open("count_vowels")
        expect(plugin.call("count_vowels", HELLO), b'{"count":3,"total":3,"vowels":"aeiouAEIOU"}')
        expect(plugin.call("count_vowels", HELLO), b'{"count":3,"total":6,"vowels":"aeiouAEIOU"}')

    def check_count_vowels_with_config(self):
        plugin = self.open("count_vowels", config={"vowels": "o"})
        expect(plugin.call("count_vowels", HELLO), b'{"count":2,"total":2,"vowels":"o"}')

    def check_fail(self):
        plugin = self.open("fail")
        try:
            plugin.call("error_text", b"no such thing")
            raise AssertionError("the call did not fail")
        except self.plugin_error as error:
            expect(str(error), "no such thing")
        expect(plugin.call("succeed"), b"")

    def check_vars(self):
        plugin = self.open("vars")
        plugin.call("set", b"kept")
        expect(plugin.call("get"), b"kept")
        plugin.call("delete")
        expect(plugin.call("get"), b"")

    def open_greeter(self):
        """What the embedder offers: a greeting whose word may come from the host context, and a sum."""

        def greet(plugin, name):
            word = self.has_context and plugin.host_context() or b"Hello"
            return plugin.alloc(word + b", " + plugin.take(name) + b"!")

        def add(plugin, a, b):
            return math.floor(a + b)

        functions = {("extism:host/user", "greet"): greet, ("calculator", "add"): add}
        return self.open("host-functions", functions=functions)

    def check_greet(self):
        expect(self.open_greeter().call("greet", b"Benjamin"), b"Hello, Benjamin!")

    def check_add(self):
        expect(self.open_greeter().call("add"), b"\x2a")

    def host_context(self):
        """Not one of the checks, as some engines have none."""
        plugin = self.open_greeter()
        expect(plugin.call("greet", b"Benjamin", host_context=b"Howdy"), b"Howdy, Benjamin!")
        expect(plugin.call("greet", b"Benjamin"), b"Hello, Benjamin!")

    def check_handle_echo(self):
        functions = {("extism:host/user", "echo_handle"): lambda plugin, handle: handle}
        expect(self.open("handle_echo", functions=functions).call("handle_echo", HELLO), HELLO)

    def check_log(self):
        messages = []
        plugin = self.open("log", log=lambda level, text: messages.append((level, text)), log_level=2)
        expect(plugin.call("level"), b"2")
        expect(plugin.call("log_each_level"), b"0")
        expect(messages, [(2, "i"), (3, "w"), (4, "e")])

    def check_initialised(self):
        haskell = self.open("haskell")
        for plugin in haskell, haskell, self.open("constructors"):
            expect(plugin.call("initialised"), b"")
