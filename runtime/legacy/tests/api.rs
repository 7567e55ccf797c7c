//! The C API from before 1.0, called from Rust: what needs no C compiler. All of it is in `c/`.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is what a C program does: all pointers are this file's own, or null, and are freed once"
)]

use std::{
    ffi::{CStr, CString, c_void},
    fs,
    ptr::{null, null_mut},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use extism_legacy::*;

const PLAIN: &str = r#"(module
  (import "env" "extism_input_offset" (func $input_offset (result i64)))
  (import "env" "extism_input_length" (func $input_length (result i64)))
  (import "env" "extism_length" (func $length (param i64) (result i64)))
  (import "env" "extism_output_set" (func $output_set (param i64 i64)))
  (import "env" "extism_error_set" (func $error_set (param i64)))
  (import "env" "extism_config_get" (func $config_get (param i64) (result i64)))
  (import "env" "extism_var_set" (func $var_set (param i64 i64)))
  (func $output (param $block i64) (call $output_set (local.get $block) (call $length (local.get $block))))
  (func (export "echo") (call $output_set (call $input_offset) (call $input_length)))
  (func (export "fail") (result i32) (call $error_set (call $input_offset)) (i32.const 3))
  (func (export "config") (call $output (call $config_get (call $input_offset))))
  (func (export "var") (call $var_set (call $input_offset) (call $input_offset)))
  (func (export "trap") unreachable)
  (func (export "spin") (loop $again (br $again))))"#;

/// A context, freed in the end, with texts for pointers.
struct Context(*mut ExtismContext);

impl Drop for Context {
    fn drop(&mut self) {
        unsafe { extism_context_free(self.0) }
    }
}

impl Context {
    fn new() -> Self {
        Self(extism_context_new())
    }

    /// With one plugin, which is 0.
    fn with(wasm: &str) -> Self {
        let context = Self::new();
        assert_eq!(context.plugin(wasm), 0, "{:?}", context.error(-1));
        context
    }

    fn plugin(&self, wasm: &str) -> ExtismPlugin {
        self.plugin_with(wasm, &mut [])
    }

    fn plugin_with(&self, wasm: &str, functions: &mut [*const ExtismFunction]) -> ExtismPlugin {
        let (list, count) = (functions.as_mut_ptr(), functions.len() as u64);
        unsafe { extism_plugin_new(self.0, wasm.as_ptr(), wasm.len() as u64, list, count, 1) }
    }

    fn update(&self, plugin: ExtismPlugin, wasm: &str) -> bool {
        let (bytes, length) = (wasm.as_ptr(), wasm.len() as u64);
        unsafe { extism_plugin_update(self.0, plugin, bytes, length, null_mut(), 0, 1) != 0 }
    }

    fn call(&self, plugin: ExtismPlugin, name: &str, input: &str) -> i32 {
        let name = CString::new(name).unwrap();
        let (data, length) = (input.as_ptr(), input.len() as u64);
        unsafe { extism_plugin_call(self.0, plugin, name.as_ptr(), data, length) }
    }

    fn output(&self, plugin: ExtismPlugin) -> String {
        let length = unsafe { extism_plugin_output_length(self.0, plugin) };
        let data = unsafe { extism_plugin_output_data(self.0, plugin) };
        let bytes = unsafe { std::slice::from_raw_parts(data, length as usize) };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn error(&self, plugin: ExtismPlugin) -> Option<String> {
        let text = unsafe { extism_error(self.0, plugin) };
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
    }

    fn config(&self, plugin: ExtismPlugin, json: &str) -> bool {
        unsafe { extism_plugin_config(self.0, plugin, json.as_ptr(), json.len() as u64) != 0 }
    }

    fn exists(&self, plugin: ExtismPlugin, name: &str) -> bool {
        let name = CString::new(name).unwrap();
        unsafe { extism_plugin_function_exists(self.0, plugin, name.as_ptr()) != 0 }
    }
}

/// A module whose `number` returns this.
fn number(number: i32) -> String {
    format!(r#"(module (func (export "number") (result i32) (i32.const {number})))"#)
}

#[test]
fn the_version_is_the_packages() {
    let version = unsafe { CStr::from_ptr(extism_version()) };
    assert_eq!(version.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn plugins_are_known_by_their_index() {
    let context = Context::with(PLAIN);
    assert_eq!(context.plugin(&number(8)), 1);
    assert_eq!(context.call(1, "number", ""), 8);
    assert_eq!(context.call(0, "echo", "Hello"), 0);
    assert_eq!(context.output(0), "Hello");
    assert!(context.exists(0, "echo") && !context.exists(0, "number"));

    assert_eq!(context.plugin("(module (import \"env\" \"f\" (func)))"), -1);
    let missing = "unknown import: `env::f` has not been defined";
    assert_eq!(context.error(-1).as_deref(), Some(missing));
    assert_eq!(context.call(7, "number", ""), -1);
    let unknown = Some("Plugin does not exist: 7".to_owned());
    assert_eq!(
        (context.error(-1), context.error(7)),
        (unknown.clone(), unknown)
    );

    unsafe { extism_plugin_free(context.0, 1) };
    assert_eq!(context.call(1, "number", ""), -1);
    unsafe { extism_context_reset(context.0) };
    assert_eq!(context.call(0, "echo", ""), -1);
    assert_eq!(context.plugin(PLAIN), 2);
}

#[test]
fn indices_are_reused_once_25_are_free() {
    let context = Context::new();
    let plugin = number(1);
    let made: Vec<_> = (0..26).map(|_| context.plugin(&plugin)).collect();
    assert_eq!(made, (0..26).collect::<Vec<_>>());
    for index in (1..25).rev() {
        unsafe { extism_plugin_free(context.0, index) };
    }
    assert_eq!(context.plugin(&plugin), 26);
    unsafe { extism_plugin_free(context.0, 0) };
    assert_eq!(context.plugin(&plugin), 24);
    assert_eq!(context.plugin(&plugin), 27);
}

#[test]
fn an_update_takes_the_place_or_changes_nothing() {
    let context = Context::with(&number(1));
    assert!(context.update(0, &number(2)));
    assert_eq!(context.call(0, "number", ""), 2);
    assert!(!context.update(0, "(module (func (export \"f\") (result i32)))"));
    assert!(context.error(-1).is_some());
    assert_eq!(context.call(0, "number", ""), 2);
    assert!(!context.update(1, &number(3)));
    assert_eq!(
        context.error(-1).as_deref(),
        Some("Plugin index does not exist")
    );
}

#[test]
fn functions_on_a_plugin_clear_both_errors() {
    let context = Context::with(PLAIN);
    let functions: [&dyn Fn() -> bool; 6] = [
        &|| context.call(0, "echo", "") == 0,
        &|| context.config(0, "{}"),
        &|| context.exists(0, "echo"),
        &|| unsafe { extism_plugin_output_length(context.0, 0) == 0 },
        &|| unsafe { !extism_plugin_output_data(context.0, 0).is_null() },
        &|| unsafe { !extism_plugin_cancel_handle(context.0, 0).is_null() },
    ];
    for function in functions {
        assert_eq!(context.call(0, "fail", "what"), 3);
        assert_eq!(context.plugin("nonsense"), -1);
        for _ in 0..2 {
            assert_eq!(context.error(0).as_deref(), Some("what"));
            assert!(context.error(-1).is_some());
        }
        assert!(function());
        assert_eq!((context.error(0), context.error(-1)), (None, None));
    }
}

#[test]
fn calls_have_codes_and_texts() {
    let context = Context::with(PLAIN);
    let failed = |name: &str| {
        assert_eq!(context.call(0, name, ""), -1);
        context.error(0).unwrap()
    };
    assert_eq!(failed("none"), "Function not found: none");
    let trap = failed("trap");
    assert!(
        trap.starts_with("Call failed\n\nCaused by:\n    0: "),
        "{trap}"
    );
    assert!(
        trap.ends_with("\n    1: wasm trap: wasm `unreachable` instruction executed"),
        "{trap}"
    );
    assert_eq!(context.call(0, "echo", ""), 0);
    assert_eq!(context.error(0), None);
}

#[test]
fn a_call_can_be_cancelled_and_its_handle_outlives_the_plugin() {
    let context = Context::with(PLAIN);
    let handle = unsafe { extism_plugin_cancel_handle(context.0, 0) }.addr();
    let cancel = move || unsafe { extism_plugin_cancel(std::ptr::without_provenance(handle)) };
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            assert_eq!(cancel(), 1);
        });
        assert_eq!(context.call(0, "spin", ""), -1);
    });
    assert_eq!(context.error(0).as_deref(), Some("timeout"));
    assert!(context.update(0, PLAIN));
    assert_eq!(cancel(), 0);
}

#[test]
fn manifests_have_the_words_and_rules_of_that_time() {
    let context = Context::new();
    let spin = STANDARD.encode(r#"(module (func (export "spin") (loop (br 0))))"#);
    let timed = format!(r#"{{"wasm": [{{"data": "{spin}"}}], "timeout_ms": 20}}"#);
    assert_eq!(context.plugin(&timed), 0);
    assert_eq!(context.call(0, "spin", ""), -1);
    assert_eq!(context.error(0).as_deref(), Some("timeout"));
    assert_eq!(
        context.plugin(&format!("[[wasm]]\ndata = \"{spin}\"\n[memory]\nmax = 5")),
        1
    );

    let grow = STANDARD.encode(
        r#"(module (memory 1) (func (export "grow") (result i32) (memory.grow (i32.const 9))))"#,
    );
    let limited = format!(r#"{{"wasm": [{{"data": "{grow}"}}], "memory": {{"max": 5}}}}"#);
    assert_eq!(context.plugin(&limited), 2);
    assert_eq!(context.call(2, "grow", ""), -1);
    assert_eq!(context.error(2).as_deref(), Some("oom"));

    // Both names at once are one too many.
    let twice = limited.replace(r#""max": 5"#, r#""max": 5, "max_pages": 5"#);
    assert_eq!(context.plugin(&twice), -1);
    let text = context.error(-1).unwrap();
    assert!(text.contains("memory.max: unknown field `max`"), "{text}");
}

#[test]
fn of_several_modules_main_is_called_or_the_last_by_name() {
    let folder = std::env::temp_dir().join(format!("extism-legacy-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, code: i32| {
        let path = folder.join(name);
        fs::write(&path, number(code)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b, main) = (file("a.wat", 1), file("b.b.wat", 2), file("main.wat", 3));
    let called = |modules: &[(&str, Option<&str>)]| {
        let modules = modules.iter().map(|(path, name)| match name {
            Some(name) => format!(r#"{{"path": "{path}", "name": "{name}"}}"#),
            None => format!(r#"{{"path": "{path}"}}"#),
        });
        let modules: Vec<_> = modules.collect();
        let context = Context::with(&format!(r#"{{"wasm": [{}]}}"#, modules.join(",")));
        context.call(0, "number", "")
    };
    assert_eq!(called(&[(&b, None), (&a, None)]), 2);
    assert_eq!(called(&[(&b, None), (&a, Some("c"))]), 1);
    assert_eq!(called(&[(&main, None), (&a, Some("z"))]), 3);
    assert_eq!(called(&[(&a, Some("main")), (&b, None)]), 1);
    assert_eq!(called(&[(&main, Some("a")), (&a, Some("b.a"))]), 1);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn variables_may_take_100_mib() {
    let context = Context::with(PLAIN);
    assert_eq!(
        context.call(0, "var", &"x".repeat(2 << 20)),
        0,
        "{:?}",
        context.error(0)
    );
    let manifest = format!(r#"{{"wasm": [{{"data": "{}"}}]}}"#, STANDARD.encode(PLAIN));
    assert_eq!(context.plugin(&manifest), 1);
    assert_eq!(
        context.call(1, "var", &"x".repeat(2 << 20)),
        0,
        "{:?}",
        context.error(1)
    );
}

static FREES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn free(_: *mut c_void) {
    FREES.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn shout(
    plugin: *mut ExtismCurrentPlugin,
    inputs: *const ExtismVal,
    n_inputs: ExtismSize,
    outputs: *mut ExtismVal,
    n_outputs: ExtismSize,
    _: *mut c_void,
) {
    assert_eq!((n_inputs, n_outputs), (1, 1));
    unsafe {
        let block = (*inputs).v.i64 as u64;
        let length = extism_current_plugin_memory_length(plugin, block) as usize;
        let copy = extism_current_plugin_memory_alloc(plugin, length as u64);
        let memory = extism_current_plugin_memory(plugin);
        for index in 0..length {
            let byte = *memory.add(block as usize + index);
            *memory.add(copy as usize + index) = byte.to_ascii_uppercase();
        }
        extism_current_plugin_memory_free(plugin, block);
        assert_eq!(extism_current_plugin_memory_length(plugin, block), 0);
        (*outputs).v.i64 = copy as i64;
    }
}

#[test]
fn functions_serve_any_number_of_plugins_from_env_or_where_told() {
    let hosted = |module: &str| {
        let import = format!(
            r#"(import "{module}" "shout" (func $shout (param i64) (result i64)))
            (func (export "run") (call $output (call $shout (call $input_offset))))"#
        );
        // The imports come first.
        let (imports, rest) = PLAIN.split_at(PLAIN.find("  (func $output").unwrap());
        let (import, run) = import.split_once('\n').unwrap();
        format!("{imports}{import}{run}{rest}")
    };
    let types = [ExtismValType::I64 as CValType];
    let mut data = 0;
    let function = unsafe {
        extism_function_new(
            c"shout".as_ptr(),
            types.as_ptr(),
            1,
            types.as_ptr(),
            1,
            Some(shout),
            (&raw mut data).cast(),
            Some(free),
        )
    };
    let mut functions = [null(), function.cast_const()];
    let context = Context::new();
    assert_eq!(context.plugin_with(&hosted("env"), &mut functions), 0);
    assert_eq!(context.plugin_with(&hosted("env"), &mut functions), 1);
    assert_eq!(context.plugin_with(&hosted("mine"), &mut functions), -1);
    unsafe { extism_function_set_namespace(function, c"mine".as_ptr()) };
    assert_eq!(context.plugin_with(&hosted("mine"), &mut functions), 2);
    unsafe { extism_function_free(function) };
    for plugin in 0..3 {
        assert_eq!(
            context.call(plugin, "run", "Hello"),
            0,
            "{:?}",
            context.error(plugin)
        );
        assert_eq!(context.output(plugin), "HELLO");
    }
    unsafe { extism_context_reset(context.0) };
    assert_eq!(FREES.load(Ordering::Relaxed), 1);
}

#[test]
fn configuration_changes_as_said_or_not_at_all() {
    let context = Context::with(PLAIN);
    let value = || {
        assert_eq!(context.call(0, "config", "key"), 0);
        context.output(0)
    };
    assert!(context.config(0, r#"{"key": "value"}"#));
    assert_eq!(value(), "value");
    assert!(!context.config(0, r#"{"key": 1}"#));
    assert!(context.error(0).unwrap().starts_with("invalid config"));
    assert_eq!(value(), "value");
    assert!(context.config(0, r#"{"key": null}"#));
    assert_eq!(value(), "");
}

#[test]
fn null_is_an_answer_everywhere() {
    let context = Context::with(PLAIN);
    unsafe {
        assert_eq!(
            extism_plugin_new(null_mut(), null(), 0, null_mut(), 0, 0),
            -1
        );
        assert_eq!(
            extism_plugin_new(context.0, null(), 5, null_mut(), 5, 0),
            -1
        );
        assert_eq!(
            extism_plugin_update(null_mut(), 0, null(), 0, null_mut(), 0, 0),
            0
        );
        assert_eq!(
            extism_plugin_call(null_mut(), 0, c"echo".as_ptr(), null(), 0),
            -1
        );
        assert_eq!(extism_plugin_call(context.0, 0, null(), null(), 0), -1);
        assert_eq!(
            extism_plugin_call(context.0, 0, c"echo".as_ptr(), null(), 5),
            -1
        );
        assert_eq!(
            extism_plugin_call(context.0, 0, c"echo".as_ptr(), null(), 0),
            0
        );
        assert_eq!(extism_plugin_config(null_mut(), 0, null(), 0), 0);
        assert_eq!(extism_plugin_config(context.0, 0, null(), 5), 0);
        assert_eq!(
            extism_plugin_function_exists(null_mut(), 0, c"echo".as_ptr()),
            0
        );
        assert_eq!(extism_plugin_function_exists(context.0, 0, null()), 0);
        assert_eq!(extism_plugin_output_length(null_mut(), 0), 0);
        assert!(extism_plugin_output_data(null_mut(), 0).is_null());
        assert!(extism_plugin_cancel_handle(null_mut(), 0).is_null());
        assert_eq!(extism_plugin_cancel(null()), 0);
        assert!(extism_error(null_mut(), -1).is_null());
        extism_plugin_free(null_mut(), 0);
        extism_context_reset(null_mut());
        extism_context_free(null_mut());
    }
}
