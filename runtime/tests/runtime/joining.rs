//! Plugin and kernel as one module: when they are, and that nobody can tell. `.ci/runtime.sh` has all the other tests run both ways.

use extism::{
    CallError, CompiledPlugin, Function, Manifest, PTR, Plugin, PluginBuilder, UserData, Wasm,
};

use crate::wat;

const FROM_BEFORE_1_0: &str = r#"(module
    (import "env" "extism_input_length" (func $length (result i64)))
    (func (export "run") (result i32) (i32.wrap_i64 (call $length))))"#;

fn compile(plugin: &str) -> CompiledPlugin {
    let builder = PluginBuilder::new(plugin).with_joined_kernel(true);
    builder.compile().unwrap()
}

/// A function of the host in the place of the kernel's `length`.
fn another_length(module: &str, name: &str) -> Function {
    let function = Function::new(name, [PTR], [PTR], UserData::new(()), |_, _, results, _| {
        results[0] = extism::Val::I64(7);
        Ok(())
    });
    function.with_namespace(module)
}

#[test]
fn plugins_are_joined_unless_something_is_in_the_way() {
    let plain = wat(r#"(func (export "run"))"#);
    for plugin in [&plain, FROM_BEFORE_1_0] {
        assert!(compile(plugin).is_joined(), "{plugin}");
    }
    for plugin in [
        r#"(module (import "extism:host/env" "config_get" (func (param i64) (result i64))))"#
            .to_owned(),
        wat("(func $start) (start $start)"),
        wat(r#"(func (export "extism:kernel/run"))"#),
    ] {
        assert!(!compile(&plugin).is_joined(), "{plugin}");
    }
    let library = Wasm::data(plain.clone()).with_name("library");
    let several = Manifest::new([library, Wasm::data(plain.clone())]);
    assert!(!PluginBuilder::new(several).compile().unwrap().is_joined());
    let builder = || PluginBuilder::new(plain.as_str()).with_joined_kernel(true);
    for builder in [
        builder().with_joined_kernel(false),
        builder().with_debug_info(),
        builder().with_functions([another_length("extism:host/env", "length")]),
        builder().with_functions([another_length("env", "extism_length")]),
    ] {
        assert!(!builder.compile().unwrap().is_joined());
    }
    let elsewhere = builder().with_functions([another_length("extism:host/user", "length")]);
    assert!(elsewhere.compile().unwrap().is_joined());
}

#[test]
fn a_host_function_in_the_kernels_place_is_the_one_that_is_called() {
    let plugin = wat(r#"(func (export "run") (result i32)
        (i32.wrap_i64 (call $length (call $alloc (i64.const 3)))))"#);
    for (functions, expected) in [
        (vec![], 3),
        (vec![another_length("extism:host/env", "length")], 7),
    ] {
        let mut plugin = Plugin::new(plugin.as_str(), functions, false).unwrap();
        assert_eq!(plugin.call_raw("run", b"", None).unwrap(), expected);
    }
}

#[test]
fn what_the_kernel_exports_is_no_function_of_the_plugin() {
    let mut plugin = Plugin::new(wat(r#"(func (export "run"))"#), [], false).unwrap();
    for name in ["extism:kernel/reset", "extism:kernel/end", "reset"] {
        assert!(!plugin.function_exists(name));
        let failure = plugin.call_raw(name, b"", None).unwrap_err();
        let error = failure.error.downcast_ref();
        assert!(matches!(error, Some(CallError::NoFunction(missing)) if missing == name));
    }
    let own = wat(r#"(func (export "extism:kernel/reset") (result i32) (i32.const 5))"#);
    let mut plugin = Plugin::new(own, [], false).unwrap();
    assert_eq!(
        plugin.call_raw("extism:kernel/reset", b"", None).unwrap(),
        5
    );
}

/// Its kernel would not be the one that gets the input.
#[test]
fn a_module_that_came_linked_is_refused() {
    use extism_kernel_linker::{Form, Options, link};
    let plugin = wat::parse_str(wat(r#"(func (export "run"))"#)).unwrap();
    for form in [Form::TwoMemories, Form::OneMemory] {
        let linked = link(&plugin, &Options::new(form)).unwrap().wasm;
        let error = Plugin::new(linked, [], false).unwrap_err().to_string();
        assert!(error.contains("contains a kernel already"), "{error}");
    }
}

/// What can be seen of a call.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Result<i32, (i32, String)>,
    output: Vec<u8>,
    pages: u64,
}

#[test]
fn nobody_can_tell() {
    let text = wat(r#"(memory (export "memory") 1)
        (func (export "echo") (call $output_set (call $input_offset) (call $input_length)))
        (func (export "trap") unreachable)
        (func (export "code") (result i32) (i32.const 3))
        (func (export "error") (call $error_set (call $input_offset)))
        (func (export "no_text") (call $error_set (i64.const 12345)))
        (func (export "outside") (call $output_set (i64.const 65000) (i64.const 1000000)))
        (func (export "far") (call $output_set (i64.const -1) (i64.const -1)))
        (func (export "grow") (drop (call $alloc (i64.const 1000000))) (call $number (i64.extend_i32_s (memory.grow (i32.const 3)))))
        (func (export "own") (i64.store (i32.const 1000) (i64.const 77))
            (call $number (i64.load (i32.const 1000))))
        (func (export "too_much") (loop (br_if 0 (i64.ne (call $alloc (i64.const 1000000)) (i64.const 0)))))
        (func (export "endless") (loop (br 0)))
        (func (export "deep") (call 18))"#);
    let both = [true, false].map(|joined| {
        let manifest = Manifest::new([Wasm::data(text.as_str())]).with_memory_max(100);
        let builder = PluginBuilder::new(manifest).with_fuel_limit(1_000_000);
        let compiled = builder.with_joined_kernel(joined).compile().unwrap();
        assert_eq!(compiled.is_joined(), joined);
        let mut plugin = Plugin::new_from_compiled(&compiled).unwrap();
        let mut seen = Vec::new();
        let large = vec![7; 10_000_000];
        for name in [
            "echo", "trap", "code", "error", "no_text", "outside", "far", "grow", "own",
            "too_much", "endless", "deep", "missing", "echo",
        ] {
            for input in [&b""[..], b"some bytes", &large] {
                let result = plugin.call_raw(name, input, None);
                seen.push(Seen {
                    // Where in the module something trapped differs.
                    code: result.map_err(|failure| {
                        let text = failure.text();
                        (
                            failure.code,
                            text.lines().next().unwrap_or_default().to_owned(),
                        )
                    }),
                    output: plugin.output().to_vec(),
                    pages: plugin.kernel_pages(),
                });
            }
        }
        seen
    });
    let [joined, usual] = both;
    for (joined, usual) in joined.iter().zip(&usual) {
        assert_eq!(joined, usual);
    }
    assert_eq!(joined.len(), 42);
}
