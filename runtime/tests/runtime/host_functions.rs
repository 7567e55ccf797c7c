//! Functions of the embedder, and the macros for them.

use std::sync::Arc;

use extism::{
    Function, PTR, Plugin, PluginBuilder, UserData, Val, ValType, convert::Json, host_fn,
    typed_plugin,
};

use crate::{call_error, root_cause};

/// Calls the function `f` of this type with its input, and outputs what that returns.
const HANDLES: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/user" "f" (func $f (param i64) (result i64)))
  (func (export "run")
    (local $block i64)
    (local.set $block (call $f (call $input_offset)))
    (call $output_set (local.get $block) (call $length (local.get $block)))))"#;

host_fn!(shout(text: String) -> String { Ok(text.to_uppercase()) });
host_fn!(count(calls: usize; text: String) -> Json<Vec<usize>> {
    let calls = calls.get()?;
    let mut calls = calls.lock().unwrap();
    *calls += 1;
    Ok(Json(vec![*calls, text.len()]))
});
host_fn!(fail(_text: String) -> String { Err::<String, _>(extism::Error::msg("the host's own reason")) });

fn with(function: Function) -> Plugin {
    Plugin::new(HANDLES, [function], false).unwrap()
}

#[test]
fn the_macro_decodes_and_encodes() {
    let mut plugin = with(Function::new("f", [PTR], [PTR], UserData::default(), shout));
    assert_eq!(plugin.call::<_, String>("run", "text").unwrap(), "TEXT");
    assert_eq!(plugin.call::<_, String>("run", "").unwrap(), "");
    let calls = UserData::new(0);
    let mut plugin = with(Function::new("f", [PTR], [PTR], calls.clone(), count));
    for call in 1..4 {
        let Json(output) = plugin.call::<_, Json<Vec<usize>>>("run", "four").unwrap();
        assert_eq!(output, [call, 4]);
    }
    assert_eq!(*calls.get().unwrap().lock().unwrap(), 3);
}

#[test]
fn an_error_of_a_host_function_is_the_calls_last_cause() {
    let mut plugin = with(Function::new("f", [PTR], [PTR], UserData::default(), fail));
    let failure = plugin.call_raw("run", b"text", None).unwrap_err();
    assert_eq!(failure.code, -1);
    assert!(
        failure
            .text()
            .ends_with("\n\nCaused by:\n    the host's own reason"),
        "{}",
        failure.text()
    );
    assert_eq!(root_cause(failure.error), "the host's own reason");
}

#[test]
fn the_last_function_of_a_name_counts() {
    let one = |text: &'static str| {
        Function::from_fn("f", [PTR], [PTR], move |plugin, _, results| {
            plugin.memory_set_val(&mut results[0], text)
        })
    };
    let mut plugin = Plugin::new(HANDLES, [one("first"), one("last")], false).unwrap();
    assert_eq!(plugin.call::<_, String>("run", "text").unwrap(), "last");
}

#[test]
fn a_function_can_take_the_place_of_one_of_the_kernel_or_of_the_host() {
    let module = |name: &str| {
        format!(
            r#"(module
      (import "extism:host/env" "{name}" (func $f (param i64) (result i64)))
      (func (export "run") (result i32) (i32.wrap_i64 (call $f (i64.const 1)))))"#
        )
    };
    for name in ["alloc", "config_get"] {
        let mine = Function::from_fn(name, [PTR], [PTR], |_, _, results| {
            results[0] = Val::I64(77);
            Ok(())
        });
        let mine = mine.with_namespace(extism::EXTISM_ENV_MODULE);
        let mut plugin = Plugin::new(module(name), [mine], false).unwrap();
        assert_eq!(plugin.call_raw("run", b"", None).unwrap(), 77, "{name}");
    }
}

#[test]
fn values_of_all_four_types_arrive() {
    use ValType::{F32, F64, I32, I64};
    let module = r#"(module
      (import "mine" "f" (func $f (param i32 i64 f32 f64) (result f64)))
      (import "mine" "g" (func $g (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)))
      (func (export "f") (result i32)
        (i32.trunc_f64_s (call $f (i32.const -1) (i64.const 20) (f32.const 0.5) (f64.const 0.25))))
      (func (export "g") (result i32)
        (i32.wrap_i64 (call $g (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5)
                               (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10)))))"#;
    let f = Function::from_fn("f", [I32, I64, F32, F64], [F64], |_, args, results| {
        assert_eq!(results, [Val::F64(0)], "preset");
        let sum = f64::from(args[0].unwrap_i32())
            + args[1].unwrap_i64() as f64
            + f64::from(args[2].unwrap_f32())
            + args[3].unwrap_f64();
        results[0] = sum.into();
        Ok(())
    });
    let g = Function::from_fn("g", [I64; 10], [I64], |_, args, results| {
        results[0] = args.iter().map(Val::unwrap_i64).sum::<i64>().into();
        Ok(())
    });
    let functions = [f, g].map(|function| function.with_namespace("mine"));
    let mut plugin = Plugin::new(module, functions, false).unwrap();
    assert_eq!(plugin.call_raw("f", b"", None).unwrap(), 19);
    assert_eq!(plugin.call_raw("g", b"", None).unwrap(), 55);
}

#[test]
fn a_result_of_another_type_fails_the_call() {
    for wrong in [Val::I32(1), Val::F64(0), Val::FuncRef] {
        let f = Function::from_fn("f", [PTR], [PTR], move |_, _, results| {
            results[0] = wrong;
            Ok(())
        });
        let error = root_cause(call_error(&mut with(f), "run", "text"));
        assert!(error.starts_with("host function f gave a "), "{error}");
    }
}

/// D3: it aborted the process.
#[test]
fn vectors_and_references_are_refused_at_creation() {
    for ty in [ValType::V128, ValType::FuncRef, ValType::ExternRef] {
        for (params, results) in [(vec![ty], vec![]), (vec![], vec![ty])] {
            let f = Function::from_fn("f", params, results, |_, _, _| Ok(()));
            let error = Plugin::new(HANDLES, [f], false).unwrap_err();
            assert_eq!(
                root_cause(error),
                format!("host function f can't have a {ty:?}")
            );
        }
    }
}

#[test]
fn a_function_of_another_type_than_wanted_is_named_at_creation() {
    let f = Function::from_fn("f", [ValType::I32], [PTR], |_, _, _| Ok(()));
    let error = root_cause(Plugin::new(HANDLES, [f], false).unwrap_err());
    let expected = "types incompatible: expected type `(func (param i64) (result i64))`, \
                    found type `(func (param i32) (result i64))`";
    assert_eq!(error, expected);
}

#[test]
fn the_context_is_the_calls() {
    let f = Function::from_fn("f", [PTR], [PTR], |plugin, _, results| {
        let text = match plugin.host_context::<String>() {
            Ok(context) => {
                context.push('!');
                context.clone()
            }
            Err(error) => error.to_string(),
        };
        plugin.memory_set_val(&mut results[0], text)
    });
    let mut plugin = with(f);
    let none = "this call has no host context of the expected type";
    let output: String = plugin.call("run", "").unwrap();
    assert_eq!(output, none);
    let output: String = plugin
        .call_with_host_context("run", "", "context".to_owned())
        .unwrap();
    assert_eq!(output, "context!");
    let output: String = plugin.call_with_host_context("run", "", 5).unwrap();
    assert_eq!(output, none);
    let output: String = plugin.call("run", "").unwrap();
    assert_eq!(output, none);
}

#[test]
fn user_data_is_dropped_with_the_last_plugin() {
    let data = Arc::new(());
    let f = {
        let data = data.clone();
        Function::from_fn("f", [PTR], [PTR], move |_, _, _| {
            let _ = &data;
            Ok(())
        })
    };
    let compiled = PluginBuilder::new(HANDLES)
        .with_functions([f])
        .compile()
        .unwrap();
    let plugin = Plugin::new_from_compiled(&compiled).unwrap();
    drop(compiled);
    assert_eq!(Arc::strong_count(&data), 2);
    drop(plugin);
    assert_eq!(Arc::strong_count(&data), 1);
}

typed_plugin!(pub Runner {
    run(&str) -> String;
});

typed_plugin!(Other {
    missing(&str) -> String
});

#[test]
fn typed_plugins_have_to_have_their_functions() {
    let shout = || with(Function::new("f", [PTR], [PTR], UserData::default(), shout));
    let mut runner = Runner::try_from(shout()).unwrap();
    assert_eq!(runner.run("text").unwrap(), "TEXT");
    let error = Other::try_from(shout()).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "Invalid function: missing");
    let mut plugin = Plugin::from(runner);
    assert_eq!(plugin.call::<_, String>("run", "again").unwrap(), "AGAIN");
}

#[test]
fn memory_is_handed_out_checked() {
    let f = Function::from_fn("f", [PTR], [PTR], |plugin, args, results| {
        let block = plugin.memory_from_val(&args[0]).unwrap();
        assert_eq!(plugin.memory_str(block)?, "text");
        plugin.memory_bytes_mut(block)?[0] = b'T';
        assert_eq!(plugin.memory_get::<String>(block)?, "Text");
        assert_eq!(plugin.memory_length(block.offset)?, 4);
        assert_eq!(plugin.memory_length(block.offset + 1)?, 0);
        assert!(plugin.memory_handle(u64::MAX).is_none());
        assert!(plugin.memory_from_val(&Val::I32(1)).is_none());
        let mut beyond = block;
        beyond.length = u64::MAX;
        plugin.memory_bytes(beyond).unwrap_err();
        assert_eq!(plugin.memory_alloc(0)?.offset, 0);
        plugin.memory_alloc(u64::MAX).unwrap_err();
        let mine = plugin.memory_alloc(3)?;
        plugin.memory_bytes_mut(mine)?.copy_from_slice(b"abc");
        plugin.memory_free(block)?;
        plugin.vars_mut().insert("seen".to_owned(), b"yes".to_vec());
        assert_eq!(plugin.vars()["seen"], b"yes");
        results[0] = plugin.memory_to_val(mine);
        Ok(())
    });
    assert_eq!(with(f).call::<_, String>("run", "text").unwrap(), "abc");
}

#[test]
fn a_host_function_can_set_and_clear_the_calls_error() {
    let f = |clear: bool| {
        Function::from_fn("f", [PTR], [PTR], move |plugin, _, _| {
            plugin.set_error("from the host")?;
            if clear {
                plugin.clear_error()?;
            }
            Ok(())
        })
    };
    assert_eq!(
        root_cause(call_error(&mut with(f(false)), "run", "")),
        "from the host"
    );
    with(f(true)).call::<_, ()>("run", "").unwrap();
}
