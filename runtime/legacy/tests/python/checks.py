"""What a program in Python from before 1.0 does, as the SDK's documentation of that time says it."""

import importlib.metadata
import json
import sys
import threading
import time

from extism import Context, Error, Function, ValType, extism_version, host_fn, set_log_file

PLUGIN = b"""(module
  (import "env" "extism_input_offset" (func $input_offset (result i64)))
  (import "env" "extism_input_length" (func $input_length (result i64)))
  (import "env" "extism_length" (func $length (param i64) (result i64)))
  (import "env" "extism_output_set" (func $output_set (param i64 i64)))
  (import "env" "extism_error_set" (func $error_set (param i64)))
  (import "env" "extism_config_get" (func $config_get (param i64) (result i64)))
  (import "env" "hello" (func $hello (param i64) (result i64)))
  (func $output (param $block i64) (call $output_set (local.get $block) (call $length (local.get $block))))
  (func (export "echo") (call $output_set (call $input_offset) (call $input_length)))
  (func (export "config") (call $output (call $config_get (call $input_offset))))
  (func (export "fail") (result i32) (call $error_set (call $input_offset)) (i32.const 1))
  (func (export "hello") (call $output (call $hello (call $input_offset))))
  (func (export "spin") (loop $again (br $again))))"""

OTHER = b'(module (func (export "eight") (result i32) (i32.const 8)))'


@host_fn
def hello(plugin, inputs, outputs, greeting):
    name = plugin.input_string(inputs[0])
    plugin.return_string(outputs[0], f"{greeting}, {name}!")


def raises(text, function, *arguments):
    try:
        function(*arguments)
    except Error as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no error {text!r}")


# Before 0.5 the SDK forgot the functions, and so their data, that the program didn't keep.
functions = [Function("hello", [ValType.I64], [ValType.I64], hello, "Hello")]

assert importlib.metadata.version("extism") == sys.argv[1]
assert extism_version().startswith("0."), extism_version()
set_log_file("/dev/null", "debug")

with Context() as context:
    plugin = context.plugin(PLUGIN, functions=functions, config={"key": "value"})
    assert plugin.function_exists("echo") and not plugin.function_exists("none")
    assert plugin.call("echo", "some text") == b"some text"
    assert plugin.call("echo", b"") == b""
    assert plugin.call("config", "key") == b"value"
    assert plugin.call("hello", "World") == b"Hello, World!"
    raises("what went wrong", plugin.call, "fail", "what went wrong")
    raises("Function not found: none", plugin.call, "none", "")

    threading.Timer(0.3, plugin.cancel_handle().cancel).start()
    raises("timeout", plugin.call, "spin", "")

    # A manifest as a dictionary, with bytes; `other` has a time of its own.
    timed = context.plugin({"wasm": [{"data": PLUGIN}], "timeout_ms": 100, "memory": {"max": 9}}, functions=functions)
    start = time.monotonic()
    raises("timeout", timed.call, "spin", "")
    assert time.monotonic() - start < 5
    assert timed.call("hello", "again") == b"Hello, again!"

    raises("", plugin.update, b"(module (func (result i32)))")
    assert plugin.call("echo", "still there") == b"still there"
    plugin.update(OTHER)
    raises("Error code: 8", plugin.call, "eight", "")
    raises("unknown import", context.plugin, PLUGIN)
    raises("No wasm files specified", context.plugin, json.dumps({"wasm": []}))
    context.reset()
    raises("Plugin does not exist", timed.call, "echo", "")

print(f"the SDK {sys.argv[1]} for Python: all as it should be")
