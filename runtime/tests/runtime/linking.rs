//! Several modules, commands, initialisers, plugins from before 1.0.

use extism::{CallError, Function, Manifest, PTR, Plugin, Wasm};

use crate::{call_error, number, plugin, root_cause, wat};

fn modules(modules: &[(Option<&str>, &str)]) -> Manifest {
    let modules = modules.iter().map(|(name, text)| match name {
        Some(name) => Wasm::data(*text).with_name(*name),
        None => Wasm::data(*text),
    });
    Manifest::new(modules)
}

fn creation_error(manifest: Manifest) -> String {
    root_cause(Plugin::new(manifest, [], true).unwrap_err())
}

/// The code that `run` returns.
fn run(manifest: impl Into<extism::WasmInput<'static>>) -> i32 {
    let mut plugin = Plugin::new(manifest, [], true).unwrap();
    plugin.call_raw("run", b"", None).unwrap()
}

const SEVEN: &str = r#"(module (func (export "f") (result i32) (i32.const 7)))"#;
const USES_LIB: &str = r#"(module (import "lib" "f" (func $f (result i32))) (func (export "run") (result i32) (call $f)))"#;

#[test]
fn modules_import_from_each_other_in_any_order() {
    assert_eq!(run(modules(&[(Some("lib"), SEVEN), (None, USES_LIB)])), 7);
    assert_eq!(run(modules(&[(None, USES_LIB), (Some("lib"), SEVEN)])), 7);
    let between = r#"(module (import "deep" "f" (func $f (result i32)))
        (func (export "f") (result i32) (i32.add (call $f) (i32.const 1))))"#;
    assert_eq!(
        run(modules(&[
            (Some("main"), USES_LIB),
            (Some("lib"), between),
            (Some("deep"), SEVEN)
        ])),
        8
    );
}

#[test]
fn main_is_the_unnamed_or_so_named_module_or_the_last() {
    assert_eq!(
        run(modules(&[(
            Some("whatever"),
            r#"(module (func (export "run") (result i32) (i32.const 1)))"#
        )])),
        1
    );
    assert_eq!(
        run(modules(&[(Some("lib"), SEVEN), (Some("last"), USES_LIB)])),
        7
    );
    let error = creation_error(modules(&[(None, SEVEN), (Some("main"), SEVEN)]));
    assert_eq!(
        error,
        "Duplicate module name found in Extism manifest: main"
    );
    let error = creation_error(modules(&[
        (Some("a"), SEVEN),
        (Some("a"), SEVEN),
        (None, SEVEN),
    ]));
    assert_eq!(error, "Duplicate module name found in Extism manifest: a");
}

/// D8: the stack overflowed.
#[test]
fn cycles_are_an_error() {
    let a = r#"(module (import "b" "f" (func)) (func (export "f")))"#;
    let b = r#"(module (import "a" "f" (func)) (func (export "f")))"#;
    let error = creation_error(modules(&[
        (Some("a"), a),
        (Some("b"), b),
        (None, "(module)"),
    ]));
    assert!(
        error.starts_with("modules import from each other in a cycle: "),
        "{error}"
    );
    let itself = r#"(module (import "main" "f" (func)) (func (export "f")))"#;
    let error = creation_error(modules(&[(Some("a"), SEVEN), (None, itself)]));
    assert!(
        error.starts_with("modules import from each other in a cycle: main"),
        "{error}"
    );
    let error = creation_error(modules(&[(None, itself)]));
    assert_eq!(error, "unknown import: `main::f` has not been defined");
}

#[test]
fn modules_share_the_kernel_and_have_one_instance() {
    let writer = r#"(module
      (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
      (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
      (global $calls (mut i32) (i32.const 0))
      (func (export "_initialize") (global.set $calls (i32.const 64)))
      (func (export "write") (result i64) (local $block i64)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (local.set $block (call $alloc (i64.const 1)))
        (call $store_u8 (local.get $block) (global.get $calls))
        (local.get $block)))"#;
    let main = r#"(module
      (import "writer" "write" (func $write (result i64)))
      (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
      (func (export "run") (call $output_set (call $write) (i64.const 1))))"#;
    let mut plugin = Plugin::new(
        modules(&[(Some("writer"), writer), (None, main)]),
        [],
        false,
    )
    .unwrap();
    assert_eq!(plugin.call::<_, String>("run", "").unwrap(), "A");
    assert_eq!(plugin.call::<_, String>("run", "").unwrap(), "B");
}

#[test]
fn a_linked_command_is_new_for_each_call() {
    let command = r#"(module
      (global $calls (mut i32) (i32.const 0))
      (func (export "_start"))
      (func (export "f") (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls)))"#;
    let mut plugin = Plugin::new(
        modules(&[(Some("lib"), command), (None, USES_LIB)]),
        [],
        false,
    )
    .unwrap();
    for _ in 0..3 {
        assert_eq!(plugin.call_raw("run", b"", None).unwrap(), 1);
    }
}

#[test]
fn a_module_of_the_manifest_takes_the_place_of_a_host_function() {
    let f = Function::from_fn("f", [], [extism::ValType::I32], |_, _, results| {
        results[0] = 1.into();
        Ok(())
    });
    let manifest = modules(&[(Some("lib"), SEVEN), (None, USES_LIB)]);
    let mut plugin = Plugin::new(manifest, [f.with_namespace("lib")], false).unwrap();
    assert_eq!(plugin.call_raw("run", b"", None).unwrap(), 7);
}

#[test]
fn what_cannot_be_linked_is_named() {
    for (module, error) in [
        (
            r#"(import "m" "n" (func))"#,
            "unknown import: `m::n` has not been defined",
        ),
        (
            r#"(import "extism:host/env" "alloc" (func (param i32)))"#,
            "types incompatible: expected type `(func (param i32))`, found type `(func (param i64) (result i64))`",
        ),
        (
            r#"(import "extism:host/env" "memory" (memory 1))"#,
            "linked modules cannot access non-function exports of extism kernel",
        ),
    ] {
        assert_eq!(
            creation_error(modules(&[(None, &format!("(module {module})"))])),
            error
        );
    }
    let newer = r#"(module (import "extism:host/env" "brand_new" (func (param i64))))"#;
    let error = creation_error(modules(&[(None, newer)]));
    assert!(
        error.starts_with(
            "Invalid function import from extism:host/env: brand_new (type (func (param i64)))\n\nNote: "
        ),
        "{error}"
    );
    let both = r#"(module (func (export "_start")) (func (export "_initialize")))"#;
    assert_eq!(
        creation_error(modules(&[(None, both)])),
        "Program cannot be both a Command and a Reactor"
    );
}

/// Each writes a digit into the number that `order` outputs.
const INITIALISERS: &str = r#"
  (global $order (mut i64) (i64.const 0))
  (func $ran (param $digit i64)
    (global.set $order (i64.add (i64.mul (global.get $order) (i64.const 10)) (local.get $digit))))
  (func (export "order") (call $number (global.get $order)))
"#;

#[test]
fn the_first_initialiser_runs_once() {
    let initialize = r#"(func (export "_initialize") (call $ran (i64.const 1)))"#;
    let ctors = r#"(func (export "__wasm_call_ctors") (call $ran (i64.const 2)))"#;
    let haskell = r#"(func (export "hs_init") (param i32 i32) (call $ran (i64.const 3)))"#;
    let start = "(func $start (call $ran (i64.const 4))) (start $start)";
    for (body, order) in [
        (vec![initialize], 1),
        (vec![ctors], 2),
        (vec![ctors, initialize], 2),
        (vec![haskell], 3),
        (vec![haskell, initialize, ctors], 13),
        (vec![start, initialize], 41),
        (vec![start, ctors], 42),
        (
            vec![
                r#"(func (export "__wasm_call_ctors") (param i32))"#,
                initialize,
            ],
            0,
        ),
        (
            vec![
                r#"(func (export "_initialize") (result i32) (call $ran (i64.const 1)) (i32.const 0))"#,
            ],
            0,
        ),
    ] {
        let mut plugin = plugin(&format!("{INITIALISERS} {}", body.concat()));
        assert_eq!(number(&mut plugin, "order"), order, "{body:?}");
        assert_eq!(number(&mut plugin, "order"), order, "{body:?}, again");
    }
}

/// D9: a host function that was called by a start function at creation read null pointers.
#[test]
fn start_functions_can_call_the_host() {
    let key = "(data (i32.const 0) \"\")";
    let body = format!(
        r#"{INITIALISERS} {key} (memory 1)
           (func $start
             (call $var_set (call $alloc (i64.const 1)) (call $alloc (i64.const 2)))
             (call $ran (call $length (call $var_get (call $alloc (i64.const 1))))))
           (start $start)"#
    );
    assert_eq!(number(&mut plugin(&body), "order"), 2);
}

/// D10: the plugin ran uninitialised then.
#[test]
fn after_an_initialiser_has_failed_every_call_fails() {
    for (name, params, text) in [
        ("__wasm_call_ctors", "", "failed to initialize wasi runtime"),
        (
            "hs_init",
            "(param i32 i32)",
            "failed to initialize Haskell using hs_init",
        ),
    ] {
        let mut plugin = plugin(&format!(
            r#"(func (export "{name}") {params} unreachable) (func (export "run"))"#
        ));
        for _ in 0..3 {
            let failure = plugin.call_raw("run", b"", None).unwrap_err();
            assert_eq!((failure.code, failure.text().as_str()), (-1, text));
        }
    }
    let error = Plugin::new(
        wat(r#"(func (export "_initialize") unreachable)"#),
        [],
        false,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "failed to initialize wasi runtime");
    assert_eq!(
        root_cause(error),
        "wasm trap: wasm `unreachable` instruction executed"
    );
}

/// D11: variables were lost.
#[test]
fn a_command_is_new_for_each_call_but_keeps_what_is_the_plugins() {
    let mut plugin = plugin(
        r#"(global $runs (mut i64) (i64.const 0))
           (func (export "_start")
             (global.set $runs (i64.add (global.get $runs) (i64.const 1)))
             (if (i64.eqz (call $var_get (call $alloc (i64.const 1)))) (then
               (call $var_set (call $alloc (i64.const 1)) (call $alloc (i64.const 5)))))
             (call $number (i64.add
               (i64.mul (global.get $runs) (i64.const 100))
               (i64.add
                 (i64.mul (call $length (call $config_get (call $alloc (i64.const 1)))) (i64.const 10))
                 (call $length (call $var_get (call $alloc (i64.const 1))))))))
           (func (export "runs") (call $number (global.get $runs)))"#,
    );
    plugin.config().merge(b"{\"\\u0000\": \"abc\"}").unwrap();
    let id = plugin.id;
    for _ in 0..3 {
        assert_eq!(number(&mut plugin, "_start"), 135);
    }
    // The instance that ran is gone.
    assert_eq!(number(&mut plugin, "runs"), 0);
    assert_eq!(plugin.id, id);
}

/// Its state was gone after that.
#[test]
fn asking_a_library_for_its_start_changes_nothing() {
    let mut plugin = plugin(
        r#"(global $runs (mut i64) (i64.const 0))
           (func (export "run")
             (global.set $runs (i64.add (global.get $runs) (i64.const 1)))
             (call $number (global.get $runs)))"#,
    );
    assert_eq!(number(&mut plugin, "run"), 1);
    let error = call_error(&mut plugin, "_start", "");
    assert_eq!(error.to_string(), "Function not found: _start");
    assert_eq!(number(&mut plugin, "run"), 2);
}

#[test]
fn plugins_from_before_1_0_run() {
    let old = r#"(module
      (import "env" "extism_input_length" (func $input_length (result i64)))
      (import "env" "extism_input_load_u8" (func $input_load_u8 (param i64) (result i32)))
      (import "env" "extism_alloc" (func $alloc (param i64) (result i64)))
      (import "env" "extism_store_u8" (func $store_u8 (param i64 i32)))
      (import "env" "extism_output_set" (func $output_set (param i64 i64)))
      (import "env" "extism_var_set" (func $var_set (param i64 i64)))
      (import "env" "extism_log_info" (func $log_info (param i64)))
      (func (export "first")
        (local $block i64)
        (local.set $block (call $alloc (i64.const 1)))
        (call $store_u8 (local.get $block) (call $input_load_u8 (i64.const 0)))
        (call $output_set (local.get $block) (i64.const 1))))"#;
    let mut plugin = Plugin::new(old, [], false).unwrap();
    assert_eq!(plugin.call::<_, String>("first", "Hello").unwrap(), "H");
    // A host function of such a name is what the plugin gets.
    let module = r#"(module
      (import "env" "extism_alloc" (func $alloc (param i64) (result i64)))
      (func (export "run") (result i32) (i32.wrap_i64 (call $alloc (i64.const 1)))))"#;
    let mine = Function::from_fn("extism_alloc", [PTR], [PTR], |_, _, results| {
        results[0] = 5u64.into();
        Ok(())
    });
    let mut plugin = Plugin::new(module, [mine.with_namespace("env")], false).unwrap();
    assert_eq!(plugin.call_raw("run", b"", None).unwrap(), 5);
    // And so is what a module of the manifest has.
    let env = r#"(module (func (export "extism_alloc") (param i64) (result i64) (i64.const 6)))"#;
    assert_eq!(run(modules(&[(Some("env"), env), (None, module)])), 6);
}

/// Those of today free what they are given, so their PDKs don't; the PDKs of that time do it themselves, or use it again.
#[test]
fn plugins_from_before_1_0_keep_what_they_pass() {
    let plugin = |module: &str, prefix: &str| {
        let import = |name: &str, ty: &str| {
            format!(r#"(import "{module}" "{prefix}{name}" (func ${name} {ty}))"#)
        };
        let imports = [
            import("alloc", "(param i64) (result i64)"),
            import("length", "(param i64) (result i64)"),
            import("config_get", "(param i64) (result i64)"),
            import("var_get", "(param i64) (result i64)"),
            import("var_set", "(param i64 i64)"),
            import("log_info", "(param i64)"),
        ];
        let calls = [
            "(drop (call $config_get (local.get $block)))",
            "(drop (call $var_get (local.get $block)))",
            "(call $var_set (call $alloc (i64.const 1)) (local.get $block))",
            "(call $var_set (local.get $block) (call $alloc (i64.const 1)))",
            "(call $log_info (local.get $block))",
        ];
        let exports = calls.iter().enumerate().map(|(number, call)| {
            format!(
                r#"(func (export "{number}") (result i32) (local $block i64)
                  (local.set $block (call $alloc (i64.const 9)))
                  {call}
                  (i32.wrap_i64 (call $length (local.get $block))))"#
            )
        });
        let exports: String = exports.collect();
        Plugin::new(
            format!("(module {} {exports})", imports.concat()),
            [],
            false,
        )
        .unwrap()
    };
    for (mut plugin, kept) in [
        (plugin("env", "extism_"), 9),
        (plugin("extism:host/env", ""), 0),
    ] {
        for call in ["0", "1", "2", "3", "4"] {
            assert_eq!(plugin.call_raw(call, b"", None).unwrap(), kept, "{call}");
        }
    }
}

#[test]
fn proposals_are_on_or_off_as_promised() {
    for module in [
        "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))",
        "(module (func (drop (v128.const i32x4 1 2 3 4))))",
        "(module (func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0)))))",
        "(module (func $f (return_call $f)))",
        "(module (type (struct (field i32))) (func (drop (struct.new 0 (i32.const 1)))))",
        "(module (tag) (func (throw 0)))",
        "(module (memory i64 1))",
        "(module (memory 1) (memory 1))",
        "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        "(module (func (param i64 i64 i64 i64) (drop (drop (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))))",
    ] {
        let module = module
            .replace(
                "(drop (drop (i64.add128 ",
                "(block (result i64 i64) (i64.add128 ",
            )
            .replace("(local.get 3))))))", "(local.get 3))) drop drop))");
        if let Err(error) = Plugin::new(module.as_str(), [], false) {
            panic!("{module}: {error:?}");
        }
    }
    for module in [
        "(module (memory 1 1 shared))",
        "(module (memory 1 (pagesize 1)))",
        "(module (type $f (func)) (type (cont $f)))",
        "(module (tag) (func try catch 0 end))",
    ] {
        assert!(Plugin::new(module, [], false).is_err(), "{module}");
    }
}

#[test]
fn wasm_errors_are_errors() {
    let mut plugin = plugin("(func (export \"run\") (drop (call $load_u8 (i64.const -1))))");
    plugin.call::<_, ()>("run", "").unwrap();
    let error = call_error(&mut plugin, "nothing", "");
    assert_eq!(
        error.downcast_ref(),
        Some(&CallError::NoFunction("nothing".to_owned()))
    );
}
