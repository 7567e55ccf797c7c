//! The runtime as Rust programs and plugins see it. Dn in a comment names a defect of the released libextism that is shown
//! not to be here; `runtime/README.md` lists them.

mod calls;
mod deadlines;
mod host_functions;
mod http;
mod http_faults;
mod joining;
mod limits;
mod linking;
mod manifests;
mod pool;
mod pooling;
mod wasi;

use extism::{CallError, Error, Manifest, Plugin, Wasm};

/// A plugin in the text format, with some imports that nearly all of them need.
fn wat(body: &str) -> String {
    format!(
        r#"(module
             (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
             (import "extism:host/env" "input_length" (func $input_length (result i64)))
             (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
             (import "extism:host/env" "free" (func $free (param i64)))
             (import "extism:host/env" "length" (func $length (param i64) (result i64)))
             (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
             (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
             (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
             (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
             (import "extism:host/env" "error_set" (func $error_set (param i64)))
             (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
             (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
             (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
             (func $output (param $block i64)
               (call $output_set (local.get $block) (call $length (local.get $block))))
             (func $number (param $number i64)
               (local $block i64)
               (local.set $block (call $alloc (i64.const 8)))
               (call $store_u64 (local.get $block) (local.get $number))
               (call $output (local.get $block)))
             {body})"#
    )
}

fn manifest(body: &str) -> Manifest {
    Manifest::new([Wasm::data(wat(body))])
}

fn plugin(body: &str) -> Plugin {
    Plugin::new(wat(body), [], false).expect("the plugin can be made")
}

/// A call's output as a little-endian number.
fn number(plugin: &mut Plugin, function: &str) -> u64 {
    let output: Vec<u8> = plugin.call(function, "").expect("the call succeeds");
    u64::from_le_bytes(output.try_into().expect("eight bytes"))
}

fn call_error(plugin: &mut Plugin, function: &str, input: impl AsRef<[u8]>) -> Error {
    let result = plugin.call::<_, ()>(function, input.as_ref());
    result.expect_err("the call fails")
}

/// The reason for a failed call, where there is one to match.
fn reason(plugin: &mut Plugin, function: &str, input: impl AsRef<[u8]>) -> Option<CallError> {
    call_error(plugin, function, input).downcast_ref().cloned()
}

fn root_cause(error: Error) -> String {
    error.root_cause().to_string()
}
