"""What programs in Python see of libextism: through the released SDK, unmodified, and through ctypes.

    checks.py            lists the checks
    checks.py NAME       runs one: exits with 0 if it holds

A `check` holds on the released library, too. A `defect` is one of the released library, Dn in runtime/README.md: there it fails,
crashes or hangs, which `run` shows.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import extism
import extism_sys
from extism.extism import CompiledPlugin

CHECKS = {}


def check(f):
    CHECKS[f.__name__] = (f, None)
    return f


def defect(number):
    def register(f):
        CHECKS[f"{number}_{f.__name__}"] = (f, number)
        return f

    return register


def addition(f):
    """What the released library doesn't have."""
    return defect("new")(f)


def wat(body, imports=""):
    return f"""(module
      (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
      (import "extism:host/env" "input_length" (func $input_length (result i64)))
      (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
      (import "extism:host/env" "length" (func $length (param i64) (result i64)))
      (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
      (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
      (import "extism:host/env" "error_set" (func $error_set (param i64)))
      (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
      (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
      (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
      (import "extism:host/env" "log_info" (func $log_info (param i64)))
      (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
      (import "extism:host/env" "http_status_code" (func $http_status_code (result i32)))
      {imports}
      (func $output (param $block i64)
        (call $output_set (local.get $block) (call $length (local.get $block))))
      {body})"""


def manifest(module, **fields):
    return {"wasm": [{"data": b64encode(module.encode()).decode()}], **fields}


ECHO = wat("""
  (func (export "echo") (call $output_set (call $input_offset) (call $input_length)))
  (func (export "seven") (result i32) (i32.const 7))
  (func (export "fail") (result i32) (call $error_set (call $input_offset)) (i32.const 1))
  (func (export "trap") unreachable)
  (func (export "spin") (loop $again (br $again)))
  (func (export "config") (call $output (call $config_get (call $input_offset))))
  (func (export "log") (call $log_info (call $input_offset)))
  (func (export "request") (call $output (call $http_request (call $input_offset) (i64.const 0))))
  (func (export "get") (call $output (call $var_get (call $alloc (i64.const 1)))))
  (func (export "set") (call $var_set (call $alloc (i64.const 1)) (call $input_offset)))
  (func (export "set_large") (call $var_set (call $alloc (i64.const 1)) (call $alloc (i64.const 600000))))
""")


def raises(f, *words):
    try:
        f()
    except extism.Error as error:
        text = str(error)
        assert all(word in text for word in words), text
        return text
    raise AssertionError("no error")


# --- the SDK ----------------------------------------------------------------------------------------------------------


@check
def sdk_calls():
    assert extism.extism_version() == "1.41.0"
    with extism.Plugin(ECHO) as plugin:
        for data in [b"", b"Hello", bytes(range(256)) * 5000]:
            assert plugin.call("echo", data) == data
        assert plugin.call("echo", "text", parse=lambda b: bytes(b).decode()) == "text"
        assert plugin.function_exists("echo") and not plugin.function_exists("missing")
        assert plugin.id.version == 4
        raises(lambda: plugin.call("missing", b""), "Function not found: missing")
        raises(lambda: plugin.call("fail", b"its own text"), "its own text")
        raises(lambda: plugin.call("seven", b""), "Error code: 7")
        raises(lambda: plugin.call("trap", b""), "error while executing at wasm backtrace:")
        assert plugin.call("echo", b"again") == b"again"


@check
def sdk_manifests_and_config():
    plugin = extism.Plugin(manifest(ECHO, config={"a": "1", "b": "2"}), config={"b": None, "c": "3"})
    assert [plugin.call("config", key) for key in "abc"] == [b"1", b"", b"3"]
    raises(lambda: extism.Plugin("nonsense"), "Unable to compile Extism plugin: Unknown manifest format")
    raises(lambda: extism.Plugin({"wasm": []}), "No wasm files specified in Extism manifest")
    with tempfile.NamedTemporaryFile(suffix=".wat") as file:
        file.write(ECHO.encode())
        file.flush()
        assert extism.Plugin({"wasm": [{"path": file.name}]}).call("echo", b"x") == b"x"
        assert extism.Plugin(file.name).call("echo", b"x") == b"x"
        wrong = {"wasm": [{"path": file.name, "hash": "ab"}]}
        raises(lambda: extism.Plugin(wrong), "Hash mismatch, found", "but expected ab")


@check
def sdk_variables():
    plugin = extism.Plugin(ECHO)
    assert plugin.call("get", b"") == b""
    plugin.call("set", b"value")
    assert plugin.call("get", b"") == b"value"
    assert extism.Plugin(ECHO).call("get", b"") == b""


@extism.host_fn()
def shout(text: str) -> str:
    return text.upper()


@extism.host_fn(name="count", namespace="mine")
def count_keys(
    plugin: extism.CurrentPlugin, value: typing.Annotated[dict, extism.Json]
) -> typing.Annotated[dict, extism.Json]:
    return {"keys": len(value), "context": plugin.host_context()}


@extism.host_fn(signature=([extism.ValType.I32, extism.ValType.F64], [extism.ValType.I32]))
def add(plugin, inputs, outputs, *_):
    outputs[0].value = inputs[0].value + inputs[1].value


@check
def sdk_host_functions_and_context():
    imports = """
      (import "extism:host/user" "shout" (func $shout (param i64) (result i64)))
      (import "mine" "count" (func $count (param i64) (result i64)))
      (import "extism:host/user" "add" (func $add (param i32 f64) (result i32)))"""
    module = wat("""
      (func (export "shout") (call $output (call $shout (call $input_offset))))
      (func (export "count") (call $output (call $count (call $input_offset))))
      (func (export "add") (result i32)
        (i32.sub (call $add (i32.const 40) (f64.const 2.5)) (i32.const 42)))
    """, imports)
    compiled = CompiledPlugin(module)
    for _ in range(3):
        plugin = extism.Plugin(compiled)
        assert plugin.call("shout", "Hello") == b"HELLO"
        plugin.call("add", b"")
        for context in ["one", {"two": 3}]:
            answer = json.loads(plugin.call("count", '{"a": 1, "b": 2}', host_context=context))
            assert answer == {"keys": 2, "context": context}


@check
def sdk_compiled_plugins_are_independent():
    compiled = CompiledPlugin(ECHO)
    one, two = extism.Plugin(compiled), extism.Plugin(compiled, config={"k": "two"})
    del compiled
    one.call("set", b"one")
    assert one.id != two.id
    assert two.call("get", b"") == b"" and one.call("config", "k") == b"" and two.call("config", "k") == b"two"


@check
def sdk_cancel():
    plugin = extism.Plugin(ECHO)
    handle = plugin.cancel_handle()
    timer = threading.Timer(0.3, handle.cancel)
    timer.start()
    raises(lambda: plugin.call("spin", b""), "timeout")
    timer.join()
    assert plugin.call("echo", b"x") == b"x"


@check
def sdk_timeout():
    plugin = extism.Plugin(manifest(ECHO, timeout_ms=100))
    for _ in range(3):
        raises(lambda: plugin.call("spin", b""), "timeout")
        assert plugin.call("echo", b"x") == b"x"


@check
def sdk_logs():
    lines = []
    logger = extism.set_log_custom(lines.append, "info")
    extism.Plugin(ECHO).call("log", "a message")
    logger.drain()
    text = "".join(lines)
    assert " INFO extism::pdk: a message plugin=" in text and text.endswith("\n"), text


@check
def sdk_log_file():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "log")
        extism.set_log_file(file, "info")
        plugin = extism.Plugin(ECHO)
        plugin.call("log", "a message")
        with open(file) as log:
            line = log.read()
        import re

        pattern = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z  INFO extism::pdk: a message plugin="[0-9a-f-]{36}"\n'
        assert re.fullmatch(pattern, line), line


@check
def sdk_http():
    with Server() as server:
        allowed = extism.Plugin(manifest(ECHO, allowed_hosts=["127.0.0.*"]))
        assert allowed.call("request", json.dumps({"url": server.url})) == b"GET /"
        request = {"url": server.url + "path", "method": "PUT", "headers": {"x-mine": "yes"}}
        assert allowed.call("request", json.dumps(request)) == b"PUT /path"
        for hosts in [None, [], ["localhost"]]:
            plugin = extism.Plugin(manifest(ECHO, allowed_hosts=hosts))
            raises(lambda: plugin.call("request", json.dumps({"url": server.url})))
        assert extism.Plugin({"wasm": [{"url": server.url + "echo.wat"}]}).call("echo", b"x") == b"x"
        raises(lambda: extism.Plugin({"wasm": [{"url": server.url + "missing"}]}), "http status: 404")


@check
def sdk_hostile_plugin():
    hostile = wat("""
      (memory 1)
      (func (export "grow") (loop $again (drop (memory.grow (i32.const 1))) (br $again)))
      (func $recurse (call $recurse) (call $recurse))
      (func (export "recurse") (call $recurse))
      (func (export "handles")
        (call $error_set (i64.const -1)) (call $output_set (i64.const -8) (i64.const 1000))
        (call $log_info (i64.const 12345)) (drop (call $var_get (i64.const -1))))
      (func (export "fine") (call $output_set (call $input_offset) (call $input_length)))
    """)
    plugin = extism.Plugin(manifest(hostile, memory={"max_pages": 20}))
    raises(lambda: plugin.call("grow", b""), "oom")
    raises(lambda: plugin.call("recurse", b""))
    raises(lambda: plugin.call("handles", b""))
    assert plugin.call("fine", b"x") == b"x"


def in_child(f):
    """What this function returns, a number below 100, in a process of its own: what is decided once is decided anew there."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 100
        try:
            code = f()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(status), f"signal {os.WTERMSIG(status)}"
    return os.WEXITSTATUS(status)


LEVELS = wat("".join(f"""
  (func (export "log_{level}") (call $log_{level} (call $input_offset)))""" for level in ["trace", "debug", "warn", "error"]),
  "".join(f"""
  (import "extism:host/env" "log_{level}" (func $log_{level} (param i64)))""" for level in ["trace", "debug", "warn", "error"]))


def lines_at(level):
    """How many of a plugin's messages at the four other levels than info come through."""
    raw, lines = Raw(), []
    if not raw.log_custom(level) & 0xFF:
        return 99
    plugin = raw.new(LEVELS)
    for name in [b"log_trace", b"log_debug", b"log_warn", b"log_error"]:
        assert raw.call(plugin, name, b"a message") == 0
    raw.log_drain(DRAIN(lambda line, _: lines.append(line)))
    return len([line for line in lines if b"a message" in line])


@check
def log_levels_and_filters():
    for level, expected in [
        (b"error", 1), (b"warn", 2), (b"info", 2), (b"debug", 3), (b"trace", 4), (b"off", 0), (None, 1),
        (b"ERROR", 1), (b"Trace", 4), (b"OFF", 0), (b"1", 1), (b"2", 2), (b"4", 3), (b"5", 4),
        (b"extism=debug,wasmtime=trace", 3), (b"extism::pdk=warn", 2), (b"wasmtime=trace", 0), (b"nonsense", 0),
    ]:  # fmt: skip
        found = in_child(lambda: lines_at(level))
        assert found == expected, (level, found)


@defect("D3")
def log_to_what_cannot_be_written():
    def log():
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 2)
        raw = Raw()
        assert raw.log_file(b"/dev/full", b"info") & 0xFF
        return raw.call(raw.new(ECHO), b"log", b"a message")

    assert in_child(log) == 0


PRINTS = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\08\\00\\00\\00printed\\0a")
  (func (export "out") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100))))
  (func (export "err") (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 100)))))"""


def print_by_wasi():
    plugin = extism.Plugin(PRINTS, wasi=True)
    plugin.call("out", b"")
    plugin.call("err", b"")


@check
def environment_wasi_output():
    def printed(**variables):
        run = subprocess.run(
            [sys.executable, __file__, "print_by_wasi"], env={**os.environ, **variables}, capture_output=True, check=True
        )
        return run.stdout, run.stderr

    assert printed() == (b"", b"")
    assert printed(EXTISM_ENABLE_WASI_OUTPUT="1") == (b"printed\n", b"printed\n")


@check
def environment_dumps():
    with tempfile.TemporaryDirectory() as folder:
        core, memory = os.path.join(folder, "core"), os.path.join(folder, "memory")
        os.environ["EXTISM_COREDUMP"], os.environ["EXTISM_MEMDUMP"] = core, memory
        plugin = extism.Plugin(ECHO)
        raises(lambda: plugin.call("trap", b"what is in the memory"))
        with open(core, "rb") as file:
            assert file.read(8) == b"\0asm\1\0\0\0"
        with open(memory, "rb") as file:
            assert b"what is in the memory" in file.read()


@check
def environment_cache():
    with tempfile.TemporaryDirectory() as folder:
        config, cache = os.path.join(folder, "cache.toml"), os.path.join(folder, "cache")
        with open(config, "w") as file:
            file.write(f'[cache]\ndirectory = "{cache}"\n')

        def files():
            extism.Plugin(ECHO).call("echo", b"x")
            time.sleep(0.5)  # it is written by another thread
            return sum(len(names) for _, _, names in os.walk(cache))

        os.environ["EXTISM_CACHE_CONFIG"] = ""
        assert files() == 0
        os.environ["EXTISM_CACHE_CONFIG"] = config
        assert files() > 0


@addition
def environment_pooling():
    os.environ["EXTISM_POOLING"] = "2"
    plugins = [extism.Plugin(ECHO), extism.Plugin(ECHO)]
    assert [plugin.call("echo", b"x") for plugin in plugins] == [b"x", b"x"]
    raises(lambda: [extism.Plugin(ECHO) for _ in range(3)], "limit of")  # two of these take the room of one with a memory
    del plugins
    assert extism.Plugin(ECHO).call("echo", b"y") == b"y"
    for none in ["0", "", "many"]:
        os.environ["EXTISM_POOLING"] = none
        assert len([extism.Plugin(ECHO) for _ in range(5)]) == 5


@check
def environment_debug_and_profile():
    os.environ["EXTISM_DEBUG"], os.environ["EXTISM_PROFILE"] = "1", "perf"
    assert extism.Plugin(ECHO).call("echo", b"x") == b"x"
    map_of_code = f"/tmp/perf-{os.getpid()}.map"
    with open(map_of_code) as file:
        assert file.read()
    os.unlink(map_of_code)


def plugin_file(name):
    return os.path.join(os.environ["PLUGINS"], name)


@check
def plugin_in_rust():
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        source = {"wasm": [{"path": plugin_file("rust.wasm")}], "allowed_hosts": ["127.0.0.1"]}
        source |= {"allowed_paths": {folder: "/data"}, "config": {"price": "2.5"}}
        lines = []
        logger = extism.set_log_custom(lines.append, "info")
        plugin = extism.Plugin(source, wasi=True)
        for sold in [4, 8]:
            receipt = json.loads(plugin.call("order", '{"item": "tea", "count": 4}'))
            assert receipt == {"item": "tea", "total": 10.0, "sold": sold, "greeting": "THANK YOU FOR 4"}, receipt
        raises(lambda: plugin.call("refuse", "not today"), "not today")
        raises(lambda: plugin.call("order", "no JSON"))
        raises(lambda: plugin.call("panic", "oh no"))
        assert plugin.call("fetch", server.url) == b"200 GET /"
        raises(lambda: plugin.call("fetch", "http://example.com/"))
        plugin.call("note", "something")
        logger.drain()
        assert any("noted: something" in line for line in lines), lines
        now = int.from_bytes(plugin.call("save", "content"), "little")
        assert abs(now - time.time()) < 60
        with open(os.path.join(folder, "saved.txt")) as saved:
            assert saved.read() == "content"
        words = "one two two three three three " * 20000
        assert json.loads(plugin.call("count_words", words)) == {"one": 20000, "two": 40000, "three": 60000}


@check
def plugin_in_c():
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "in.txt"), "w") as file:
            file.write("from a file")
        source = {"wasm": [{"path": plugin_file("c.wasm")}], "allowed_paths": {f"ro:{folder}": "/data"}}
        plugin = extism.Plugin(source, wasi=True)
        assert plugin.call("sort", "plugin") == b"gilnpu"
        for calls in [1, 2]:
            assert plugin.call("count", "") == f"{calls} calls, made ready 1 times".encode()
        raises(lambda: plugin.call("fail", ""), "an error in C")
        raises(lambda: plugin.call("exit", ""))
        assert plugin.call("read", "") == b"from a file"


class Server:
    """Answers with method and path; some paths are special."""

    def __init__(self, redirect=None, delay=0):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(delay)
                if redirect:
                    self.send_response(302)
                    self.send_header("location", redirect)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                if self.path == "/huge":
                    self.send_response(200)
                    self.send_header("content-length", "300000000")
                    self.end_headers()
                    self.close_connection = True
                    return
                body = ECHO if self.path == "/echo.wat" else f"{self.command} {self.path}"
                self.send_response(404 if self.path == "/missing" else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_PUT = do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


# --- the C API, and what was wrong with it ------------------------------------------------------------------------------

LIBRARY = os.path.join(os.path.dirname(extism_sys.__file__), "libextism_sys.so")
FUNCTION = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p
)
DRAIN = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_uint64)


class Raw:
    """The library by ctypes. A result is what the function's declaration says, bools aside: these are 32 bits, as for JNA."""

    def __init__(self):
        self.lib = ctypes.CDLL(LIBRARY)
        for name in [
            "plugin_new", "compiled_plugin_new", "plugin_new_from_compiled", "plugin_id", "plugin_error",
            "plugin_output_data", "plugin_cancel_handle", "function_new",
        ]:
            getattr(self.lib, "extism_" + name).restype = ctypes.c_void_p
        self.lib.extism_plugin_output_length.restype = ctypes.c_uint64
        self.kept = []

    def __getattr__(self, name):
        function = getattr(self.lib, "extism_" + name)

        def call(*arguments):
            return function(*[ctypes.c_void_p(a) if type(a) is int and a > 1 << 20 else a for a in arguments])

        return call

    def new(self, module, functions=(), wasi=False):
        text = (json.dumps(module) if isinstance(module, dict) else module).encode()
        array = (ctypes.c_void_p * max(1, len(functions)))(*functions)
        error = ctypes.c_char_p()
        plugin = self.lib.extism_plugin_new(
            text, ctypes.c_uint64(len(text)), array, ctypes.c_uint64(len(functions)), wasi, ctypes.byref(error)
        )
        self.kept.append(text)
        if not plugin:
            raise extism.Error((error.value or b"").decode())
        return plugin

    def host_function(self, name, f):
        callback = FUNCTION(lambda *_: f())
        self.kept.append(callback)
        return self.lib.extism_function_new(name, None, ctypes.c_uint64(0), None, ctypes.c_uint64(0), callback, None, None)

    def call(self, plugin, name, data=b""):
        return self.lib.extism_plugin_call(ctypes.c_void_p(plugin), name, data, ctypes.c_uint64(len(data)))

    def error(self, plugin):
        text = self.lib.extism_plugin_error(ctypes.c_void_p(plugin))
        return ctypes.string_at(text).decode() if text else None

    def output(self, plugin):
        plugin = ctypes.c_void_p(plugin)
        length = self.lib.extism_plugin_output_length(plugin)
        return ctypes.string_at(self.lib.extism_plugin_output_data(plugin), length)


def void(name):
    return f'(module (import "extism:host/user" "{name}" (func $f)) (func (export "run") (call $f)))'


@check
def raw_empty_output_is_not_null():
    raw = Raw()
    plugin = raw.new(ECHO)
    assert raw.call(plugin, b"echo", b"") == 0
    assert raw.plugin_output_length(plugin) == 0 and raw.plugin_output_data(plugin)


@defect("D1")
def false_has_no_dirty_upper_bits():
    raw = Raw()
    assert raw.log_custom(b"off") == 1
    for _ in range(3):
        assert raw.log_custom(b"off") == 0


@defect("D2")
def null_to_plugin_cancel():
    assert Raw().plugin_cancel(None) == 0


@defect("D2")
def null_to_plugin_reset():
    assert Raw().plugin_reset(None) == 0


@defect("D2")
def null_to_allow_http_response_headers():
    Raw().plugin_allow_http_response_headers(None)


@defect("D2")
def null_to_set_namespace():
    Raw().function_set_namespace(None, b"n")


@defect("D2")
def null_to_new_from_compiled():
    assert not Raw().plugin_new_from_compiled(None, None)


@defect("D2")
def null_as_a_functions_name():
    callback = FUNCTION(lambda *_: None)
    assert not Raw().function_new(None, None, 0, None, 0, callback, None, None)


@defect("D2")
def null_as_a_name_to_call():
    raw = Raw()
    assert raw.plugin_call(raw.new(ECHO), None, None, 0) == -1


@defect("D2")
def null_as_data_with_a_length():
    raw = Raw()
    assert raw.plugin_call(raw.new(ECHO), b"echo", None, ctypes.c_uint64(5)) == -1


@defect("D3")
def log_file_in_a_missing_folder():
    assert Raw().log_file(b"/nonexistent/folder/file", b"info") == 0


@defect("D3")
def vectors_in_host_functions():
    raw = Raw()
    callback, types = FUNCTION(lambda *_: None), (ctypes.c_int * 1)(4)
    function = raw.lib.extism_function_new(b"f", types, ctypes.c_uint64(1), None, ctypes.c_uint64(0), callback, None, None)
    module = '(module (import "extism:host/user" "f" (func $f (param v128))) (func (export "run") (call $f (v128.const i64x2 1 2))))'
    try:
        plugin = raw.new(module, [function])
    except extism.Error:
        return
    raw.call(plugin, b"run")
    raise AssertionError("it was made")


@defect("D4")
def cancel_after_free():
    raw = Raw()
    for _ in range(200):
        plugin = raw.new(ECHO)
        handle = raw.plugin_cancel_handle(plugin)
        raw.lib.extism_plugin_free(ctypes.c_void_p(plugin))
        kept = [bytearray(b"\xff" * size) for size in range(16, 4096, 16)]
        raw.lib.extism_plugin_cancel(ctypes.c_void_p(handle))


@defect("D5")
def errors_of_manifests_say_where():
    raises(lambda: extism.Plugin(manifest(ECHO, memory={"max": 5})), "Unknown manifest format", "memory", "max")


@defect("D6")
def an_array_is_no_pointer():
    raises(lambda: extism.Plugin({"wasm": [{"data": [0, 97]}]}), "Unknown manifest format")


@defect("D6")
def toml_has_no_pointers():
    text = ECHO.encode()
    buffer = ctypes.create_string_buffer(text)
    toml = f"wasm = [{{ data = {{ ptr = {ctypes.addressof(buffer)}, len = {len(text)} }} }}]"
    raises(lambda: extism.Plugin(toml), "Unknown manifest format")


@defect("D7")
def modules_from_the_net_are_bounded():
    with Server() as server:
        raises(lambda: extism.Plugin({"wasm": [{"url": server.url + "huge"}]}), "exceeds the configured maximum")


@defect("D8")
def import_cycles():
    a = '(module (import "b" "f" (func)) (func (export "f")))'
    b = '(module (import "a" "f" (func)) (func (export "f")))'
    modules = [("a", a), ("b", b), ("main", "(module)")]
    wasm = [{"name": name, "data": b64encode(text.encode()).decode()} for name, text in modules]
    raises(lambda: extism.Plugin({"wasm": wasm}), "cycle")


@defect("D9")
def a_start_function_calls_the_host():
    module = wat("""
      (func $start (drop (call $config_get (call $alloc (i64.const 1)))))
      (start $start) (func (export "run"))""")
    extism.Plugin(module).call("run", b"")


@defect("D9")
def a_start_function_runs_once():
    runs = []

    @extism.host_fn(name="counted", signature=([], []))
    def counted(plugin, inputs, outputs, *_):
        runs.append(1)

    module = """(module (import "extism:host/user" "counted" (func $f))
      (func $start (call $f)) (start $start) (func (export "run")))"""
    plugin = extism.Plugin(module)
    plugin.call("run", b"")
    assert len(runs) == 1, runs


@defect("D9")
def a_start_function_times_out():
    module = "(module (func $spin (loop $again (br $again))) (start $spin))"
    raises(lambda: extism.Plugin(manifest(module, timeout_ms=100)), "timeout")


@defect("D10")
def a_failed_initialiser_is_not_forgotten():
    plugin = extism.Plugin('(module (func (export "__wasm_call_ctors") unreachable) (func (export "run")))')
    for _ in range(2):
        raises(lambda: plugin.call("run", b""), "failed to initialize wasi runtime")


@defect("D11")
def variables_outlive_a_command():
    module = wat("""
      (func (export "_start")
        (if (i64.eqz (call $var_get (call $alloc (i64.const 1)))) (then
          (call $var_set (call $alloc (i64.const 1)) (call $alloc (i64.const 5)))
          (return)))
        (call $output (call $var_get (call $alloc (i64.const 1)))))""")
    plugin = extism.Plugin(module)
    assert plugin.call("_start", b"") == b""
    assert len(plugin.call("_start", b"")) == 5


@defect("D12")
def calls_in_a_small_thread():
    plugin = extism.Plugin('(module (func $f (call $f) (call $f)) (func (export "run") (call $f)))')
    errors = []

    def run():
        try:
            plugin.call("run", b"")
        except extism.Error as error:
            errors.append(error)

    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(errors) == 1


@defect("D13")
def a_result_of_another_type_is_named():
    raw = Raw()
    plugin = raw.new('(module (func (export "run") (result i64) (i64.const 0)))')
    assert raw.call(plugin, b"run") == -1 and raw.error(plugin)


@defect("D14")
def the_cause_is_in_the_error():
    plugin = extism.Plugin(ECHO)
    raises(lambda: plugin.call("trap", b""), "Caused by:", "unreachable")
    raises(lambda: plugin.call("request", '{"url": "http://example.com"}'), "HTTP request to http://example.com is not allowed")


@defect("D15")
def outputs_are_in_the_memory():
    raw = Raw()
    plugin = raw.new(wat('(func (export "run") (call $output_set (call $alloc (i64.const 16)) (i64.const -10)))'))
    raw.call(plugin, b"run")
    assert raw.plugin_output_length(plugin) < 1 << 32


@defect("D16")
def reentrant_calls():
    raw, answers = Raw(), []

    def inside():
        answers.append(raw.call(plugin, b"run"))
        answers.append(raw.error(plugin))
        answers.append(raw.plugin_output_length(plugin))

    plugin = raw.new(void("f"), [raw.host_function(b"f", inside)])
    assert raw.call(plugin, b"run") == 0
    assert answers == [-1, None, 0], answers


@defect("D17")
def a_variable_can_be_replaced():
    plugin = extism.Plugin(ECHO)
    plugin.call("set_large", b"")
    plugin.call("set_large", b"")


@defect("D18")
def redirects_stay_in_the_list():
    with Server() as other, Server(redirect=other.url.replace("127.0.0.1", "localhost")) as server:
        plugin = extism.Plugin(manifest(ECHO, allowed_hosts=["127.0.0.1"]))
        raises(lambda: plugin.call("request", json.dumps({"url": server.url})))


@defect("D19")
def a_host_function_counts():
    raw = Raw()
    module = manifest(void("f"), timeout_ms=50)
    plugin = raw.new(module, [raw.host_function(b"f", lambda: time.sleep(0.2))])
    assert raw.call(plugin, b"run") == 134 and raw.error(plugin) == "timeout"


@defect("D19")
def cancel_reaches_http():
    with Server(delay=5) as server:
        plugin = extism.Plugin(manifest(ECHO, allowed_hosts=["*"]))
        threading.Timer(0.2, plugin.cancel_handle().cancel).start()
        start = time.monotonic()
        raises(lambda: plugin.call("request", json.dumps({"url": server.url})), "timeout")
        assert time.monotonic() - start < 3


@defect("D20")
def a_cancel_is_one_plugins():
    compiled = CompiledPlugin(ECHO)
    cancelled, bystander = extism.Plugin(compiled), extism.Plugin(compiled)
    stopped = []

    def spin():
        try:
            bystander.call("spin", b"")
        except extism.Error:
            stopped.append(time.monotonic())

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    threading.Timer(0.2, cancelled.cancel_handle().cancel).start()
    raises(lambda: cancelled.call("spin", b""), "timeout")
    time.sleep(0.5)
    assert not stopped
    bystander.cancel_handle().cancel()
    thread.join()


@defect("D21")
def timeouts_after_fork():
    plugin = extism.Plugin(manifest(ECHO, timeout_ms=100))
    raises(lambda: plugin.call("spin", b""), "timeout")
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        raises(lambda: plugin.call("spin", b""), "timeout")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@defect("D22")
def no_cancel_is_lost():
    raw = Raw()
    plugin = raw.new(ECHO)
    handle, done = ctypes.c_void_p(raw.plugin_cancel_handle(plugin)), threading.Event()

    def cancel():
        while not done.is_set():
            raw.lib.extism_plugin_cancel(handle)

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    for _ in range(2000):
        assert raw.call(plugin, b"spin") == 134
    done.set()
    thread.join()


@defect("D23")
def growth_to_a_memorys_maximum():
    module = wat("""
      (memory 1 3)
      (func (export "to") (result i32) (i32.sub (memory.grow (i32.const 2)) (i32.const 1)))
      (func (export "past") (result i32) (i32.add (memory.grow (i32.const 1)) (i32.const 1)))""")
    plugin = extism.Plugin(manifest(module, memory={"max_pages": 10}))
    plugin.call("to", b"")
    plugin.call("past", b"")


@defect("D24")
def tables_are_counted():
    module = "(module (table 100000000 funcref) (func (export \"run\")))"
    raises(lambda: extism.Plugin(manifest(module, memory={"max_pages": 5})).call("run", b""), "oom")


@defect("D25")
def backtraces_cost_nothing_where_nothing_fails():
    def seconds(**environment):
        program = [sys.executable, __file__, "measure_calls"]
        run = subprocess.run(program, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return float(run.stdout)

    ratios = sorted(seconds(RUST_BACKTRACE="1") / seconds(RUST_BACKTRACE="0") for _ in range(3))
    assert ratios[1] < 1.4, ratios


def measure_calls():
    # The processor's time, as others may be using it, too.
    raw = Raw()
    plugin = raw.new('(module (func (export "run")))')
    call, handle, length = raw.lib.extism_plugin_call, ctypes.c_void_p(plugin), ctypes.c_uint64(0)
    best = 1e9
    for _ in range(10):
        start = time.process_time()
        for _ in range(5000):
            call(handle, b"run", None, length)
        best = min(best, time.process_time() - start)
    print(best)


@defect("D26")
def a_second_logger_detaches_nothing():
    raw, lines = Raw(), []
    assert raw.log_custom(b"info") & 0xFF
    assert not raw.log_custom(b"info") & 0xFF
    plugin = raw.new(ECHO)
    raw.call(plugin, b"log", b"a message")
    raw.log_drain(DRAIN(lambda line, _: lines.append(line)))
    assert any(b"a message" in line for line in lines), lines


@defect("D27")
def the_api_in_a_log_handler():
    raw, lines = Raw(), []
    assert raw.log_custom(b"info") & 0xFF
    plugin = raw.new(ECHO)
    raw.call(plugin, b"log", b"a message")

    def handler(line, _):
        lines.append(line)
        if b"a message" in line:
            raw.call(plugin, b"log", b"from inside")

    raw.log_drain(DRAIN(handler))
    assert any(b"a message" in line for line in lines)


@defect("D28")
def a_home_that_is_none():
    for name in ["HOME", "XDG_CACHE_HOME"]:
        os.environ[name] = "/proc/nonexistent"
    os.environ.pop("EXTISM_CACHE_CONFIG", None)
    extism.Plugin(ECHO).call("echo", b"x")


@defect("D29")
def no_thread_for_each_plugin():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = os.path.join(folder, "cache.toml")
        with open(config, "w") as file:
            file.write(f'[cache]\ndirectory = "{folder}/cache"\n')
        os.environ["EXTISM_CACHE_CONFIG"] = config
        # They all live, or their threads might be gone before they are counted.
        plugins = [extism.Plugin(ECHO) for _ in range(40)]
        threads = len(os.listdir("/proc/self/task"))
        assert threads < 12, threads
        for plugin in plugins:
            assert plugin.call("echo", b"x") == b"x"


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name, (_, number) in CHECKS.items():
            print(name, number or "-")
    elif sys.argv[1] in ["measure_calls", "print_by_wasi"]:
        globals()[sys.argv[1]]()
    else:
        CHECKS[sys.argv[1]][0]()
