//! Calls: codes and texts, what survives them, variables and configuration.

use extism::{CallError, Plugin, PluginBuilder};

use crate::{call_error, manifest, number, plugin, reason, root_cause, wat};

const ENDS: &str = r#"
  (func (export "nothing"))
  (func (export "zero") (result i32) (i32.const 0))
  (func (export "seven") (result i32) (i32.const 7))
  (func (export "negative") (result i32) (i32.const -3))
  (func (export "error_zero") (result i32) (call $error_set (call $input_offset)) (i32.const 0))
  (func (export "error_five") (result i32) (call $error_set (call $input_offset)) (i32.const 5))
  (func (export "error_trap") (call $error_set (call $input_offset)) unreachable)
  (func $inner unreachable)
  (func (export "trap") (call $inner))
  (func (export "i64") (result i64) (i64.const 0))
  (func (export "two") (result i32 i32) (i32.const 0) (i32.const 0))
  (func (export "takes") (param i32 i32 i32))
  (global (export "global") i32 (i32.const 0))
"#;

#[test]
fn every_end_of_a_call_has_its_code_and_its_text() {
    let mut plugin = plugin(ENDS);
    for (function, code, text) in [
        ("nothing", Ok(0), ""),
        ("zero", Ok(0), ""),
        ("seven", Ok(7), ""),
        ("negative", Ok(-3), ""),
        ("error_zero", Err(0), "text"),
        ("error_five", Err(5), "text"),
        ("error_trap", Err(-1), "text"),
        ("missing", Err(-1), "Function not found: missing"),
        ("global", Err(-1), "Function not found: global"),
        (
            "two",
            Err(-1),
            "Function two has 2 results, expected 0 or 1",
        ),
        ("takes", Err(-1), "expected 3 arguments, got 0"),
        // D13: it ended with -1 and no text.
        ("i64", Err(-1), "Function i64 returns i64, expected i32"),
    ] {
        let result = plugin.call_raw(function, b"text", None);
        let found = result.map_err(|failure| (failure.code, failure.text()));
        assert_eq!(
            found,
            code.map_err(|code| (code, text.to_owned())),
            "{function}"
        );
        assert_eq!(
            plugin.call_raw("nothing", b"", None).unwrap(),
            0,
            "after {function}"
        );
    }
}

/// D14: the cause reached only the log.
#[test]
fn a_trap_has_its_backtrace_and_its_cause() {
    let failure = plugin(ENDS).call_raw("trap", b"", None).unwrap_err();
    assert_eq!(failure.code, 134);
    let text = failure.text();
    assert!(
        text.starts_with("error while executing at wasm backtrace:\n"),
        "{text}"
    );
    assert!(text.contains("inner"), "{text}");
    let cause = "\n\nCaused by:\n    wasm trap: wasm `unreachable` instruction executed";
    assert!(text.ends_with(cause), "{text}");
}

/// The list of what is in the core dump stood in the backtrace's place, without a cause.
#[test]
fn a_trap_that_leaves_a_core_dump_has_the_same_text() {
    let file = std::env::temp_dir().join(format!("extism-core-{}", std::process::id()));
    let builder = PluginBuilder::new(wat(ENDS)).with_coredump(&file);
    let failure = builder
        .build()
        .unwrap()
        .call_raw("trap", b"", None)
        .unwrap_err();
    let dump = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(dump.starts_with(b"\0asm"));
    assert_eq!(failure.code, 134);
    let text = failure.text();
    assert!(
        text.starts_with("error while executing at wasm backtrace:\n"),
        "{text}"
    );
    let cause = "\n\nCaused by:\n    wasm trap: wasm `unreachable` instruction executed";
    assert!(text.ends_with(cause), "{text}");
}

#[test]
fn the_return_code_is_an_error_in_rust() {
    let mut plugin = plugin(ENDS);
    assert_eq!(
        reason(&mut plugin, "seven", ""),
        Some(CallError::ReturnCode(7))
    );
    let (error, code) = plugin
        .call_get_error_code::<_, ()>("seven", "")
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), code),
        ("Returned non-zero exit code: 7", 7)
    );
    let (_, code) = plugin.call_get_error_code::<_, ()>("trap", "").unwrap_err();
    assert_eq!(code, 134);
}

#[test]
fn state_survives_errors_and_traps() {
    let mut plugin = plugin(
        r#"(global $count (mut i64) (i64.const 0))
           (func $next (global.set $count (i64.add (global.get $count) (i64.const 1))))
           (func (export "count") (call $next) (call $number (global.get $count)))
           (func (export "count_and_trap") (call $next) unreachable)"#,
    );
    assert_eq!(number(&mut plugin, "count"), 1);
    call_error(&mut plugin, "count_and_trap", "");
    assert_eq!(number(&mut plugin, "count"), 3);
}

/// D15: with the kernel of old, the output had 2^64 - 10 bytes then.
#[test]
fn an_output_outside_of_the_memory_is_none() {
    let mut plugin = plugin(
        r#"(func (export "wrap") (call $output_set (call $alloc (i64.const 16)) (i64.const -10)))
           (func (export "beyond") (call $output_set (call $alloc (i64.const 16)) (i64.const 0x100000000)))"#,
    );
    for function in ["wrap", "beyond"] {
        let output: Vec<u8> = plugin.call(function, "").unwrap();
        assert_eq!(output, b"", "{function}");
    }
}

#[test]
fn the_output_is_there_until_the_next_call_or_reset_also_of_a_failed_one() {
    let mut plugin = plugin(
        r#"(func (export "echo") (result i32) (call $output (call $input_offset)) (i32.const 0))
           (func (export "fails") (result i32) (call $output (call $input_offset)) (i32.const 9))"#,
    );
    plugin.call_raw("echo", b"first", None).unwrap();
    assert_eq!(plugin.output(), b"first");
    assert!(plugin.function_exists("echo"));
    plugin.config().merge(br#"{"a": "b"}"#).unwrap();
    assert_eq!(plugin.output(), b"first");
    plugin.call_raw("fails", b"second", None).unwrap();
    assert_eq!(plugin.output(), b"second");
    plugin.call_raw("missing", b"third", None).unwrap_err();
    assert_eq!(plugin.output(), b"");
    plugin.call_raw("echo", b"fourth", None).unwrap();
    plugin.reset().unwrap();
    assert_eq!(plugin.output(), b"");
}

const VARS: &str = r#"
  (func $set (export "set")
    (call $var_set (call $input_offset) (call $filled (i64.const 100))))
  (func $filled (param $length i64) (result i64)
    (local $block i64)
    (local.set $block (call $alloc (local.get $length)))
    (call $store_u8 (local.get $block) (i32.const 120))
    (local.get $block))
  (func (export "get") (call $output (call $var_get (call $input_offset))))
  (func (export "remove") (call $var_set (call $input_offset) (i64.const 0)))
  (func (export "bad_key") (call $output (call $var_get (i64.const 12345))))
  (func (export "bad_value") (call $var_set (call $input_offset) (i64.const 12345)))
  (func (export "empty_key") (call $var_set (i64.const 0) (call $filled (i64.const 3))))
  (func (export "get_empty_key") (call $output (call $var_get (i64.const 0))))
"#;

/// What a variable with a key of one byte and a value of 100 counts for.
const ONE: u64 = 1 + 100 + 48;

fn with_vars(limit: u64) -> Plugin {
    let mut manifest = manifest(VARS);
    manifest.memory.max_var_bytes = Some(limit);
    Plugin::new(manifest, [], false).unwrap()
}

#[test]
fn variables_are_counted_with_their_keys_and_48_bytes_each() {
    let mut plugin = with_vars(2 * ONE);
    plugin.call::<_, ()>("set", "a").unwrap();
    plugin.call::<_, ()>("set", "b").unwrap();
    assert_eq!(
        root_cause(call_error(&mut plugin, "set", "c")),
        "Variable store is full"
    );
    plugin.call::<_, ()>("remove", "a").unwrap();
    plugin.call::<_, ()>("set", "c").unwrap();
    let mut too_little = with_vars(ONE - 1);
    assert_eq!(
        root_cause(call_error(&mut too_little, "set", "a")),
        "Variable store is full"
    );
}

/// D17: the value that was replaced counted, too, so this one was full.
#[test]
fn a_variable_can_be_set_again_in_a_full_store() {
    let mut plugin = with_vars(ONE);
    for _ in 0..3 {
        plugin.call::<_, ()>("set", "a").unwrap();
    }
    let value: Vec<u8> = plugin.call("get", "a").unwrap();
    assert_eq!((value.len(), value[0]), (100, b'x'));
}

#[test]
fn variables_can_be_disabled() {
    let error = root_cause(call_error(&mut with_vars(0), "set", "a"));
    assert_eq!(error, "Vars are disabled by this host");
}

#[test]
fn keys_and_values_have_to_be_handles() {
    let mut plugin = with_vars(1000);
    let mut error = |function| root_cause(call_error(&mut plugin, function, "a"));
    assert_eq!(error("bad_key"), "invalid handle offset for var key: 12345");
    assert_eq!(
        error("bad_value"),
        "invalid handle offset for var value: 12345"
    );
    let mut plugin = with_vars(1000);
    plugin.call::<_, ()>("empty_key", "").unwrap();
    assert_eq!(
        plugin
            .call::<_, Vec<u8>>("get_empty_key", "")
            .unwrap()
            .len(),
        3
    );
    assert!(
        root_cause(call_error(&mut plugin, "get", [0xff])).starts_with("invalid utf-8 sequence")
    );
}

#[test]
fn config_changes_as_said_or_not_at_all() {
    let config = r#"(func (export "get") (call $output (call $config_get (call $input_offset))))"#;
    let manifest = manifest(config).with_config([("a", "1"), ("b", "2")].into_iter());
    let mut plugin = Plugin::new(manifest, [], false).unwrap();
    let get = |plugin: &mut Plugin, key: &str| plugin.call::<_, String>("get", key).unwrap();
    plugin
        .config()
        .merge(br#"{"b": null, "c": "3", "a": "4"}"#)
        .unwrap();
    assert_eq!(
        ["a", "b", "c"].map(|key| get(&mut plugin, key)),
        ["4", "", "3"]
    );
    for wrong in [
        &br#"{"a": "5", "b": 6}"#[..],
        b"[]",
        b"{",
        b"",
        b"null",
        br#"{"a": {}}"#,
        b"\xff",
    ] {
        plugin.config().merge(wrong).unwrap_err();
        assert_eq!(
            get(&mut plugin, "a"),
            "4",
            "{}",
            String::from_utf8_lossy(wrong)
        );
    }
}

#[test]
fn plugins_of_a_compiled_one_share_nothing() {
    let compiled = PluginBuilder::new(wat(VARS)).compile().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| Plugin::new_from_compiled(&compiled).unwrap());
    drop(compiled);
    assert_ne!(one.id, two.id);
    assert_eq!(one.id.get_version_num(), 4);
    one.call::<_, ()>("set", "a").unwrap();
    assert_eq!(two.call::<_, Vec<u8>>("get", "a").unwrap(), b"");
    one.config().merge(br#"{"k": "v"}"#).unwrap();
    assert_eq!(two.config().get("k"), None);
}

#[test]
fn plugins_go_from_thread_to_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Plugin>();
    is_send_and_sync::<extism::CompiledPlugin>();
    is_send_and_sync::<extism::Pool>();
    let mut plugin = plugin(VARS);
    let (mut plugin, id) = std::thread::spawn(move || {
        plugin.call::<_, ()>("set", "a").unwrap();
        let id = plugin.id;
        (plugin, id)
    })
    .join()
    .unwrap();
    assert_eq!(plugin.id, id);
    assert_eq!(plugin.call::<_, Vec<u8>>("get", "a").unwrap().len(), 100);
}
