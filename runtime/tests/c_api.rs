//! The C API, with every argument that C can pass. What needs a C compiler is in `c/`.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is what a C program does: all pointers are this file's own, or null, and are freed once"
)]

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_char, c_void},
    ptr::{null, null_mut},
    sync::{
        Mutex,
        atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use extism::c_api::{
    ExtismSize, compiled::*, current_plugin::*, extism_version, function::*, log::*, plugin::*,
};

/// What most tests call: `run` calls the host function `f` with its input and outputs what that returns.
const HANDLES: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/user" "f" (func $f (param i64) (result i64)))
  (func (export "run")
    (local $block i64)
    (local.set $block (call $f (call $input_offset)))
    (call $output_set (local.get $block) (call $length (local.get $block)))))"#;

/// Without a host function.
const PLAIN: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (func (export "echo") (call $output_set (call $input_offset) (call $input_length)))
  (func (export "fail") (result i32) (call $error_set (call $input_offset)) (i32.const 3))
  (func (export "trap") unreachable)
  (func (export "spin") (loop $again (br $again)))
  (func (export "nothing")))"#;

const TYPES: [CValType; 1] = [ExtismValType::I64 as CValType];

type Callback = unsafe extern "C" fn(
    *mut ExtismCurrentPlugin,
    *const ExtismVal,
    ExtismSize,
    *mut ExtismVal,
    ExtismSize,
    *mut c_void,
);

/// The host function `f`, of one handle.
fn function(
    callback: Callback,
    data: *mut c_void,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
) -> *mut ExtismFunction {
    unsafe {
        extism_function_new(
            c"f".as_ptr(),
            TYPES.as_ptr(),
            1,
            TYPES.as_ptr(),
            1,
            Some(callback),
            data,
            free,
        )
    }
}

fn new_with(
    wasm: &str,
    functions: &mut [*const ExtismFunction],
) -> Result<*mut ExtismPlugin, String> {
    let mut error = null_mut();
    let count = functions.len() as u64;
    let plugin = unsafe {
        extism_plugin_new(
            wasm.as_ptr(),
            wasm.len() as u64,
            functions.as_mut_ptr(),
            count,
            0,
            &mut error,
        )
    };
    taken(plugin, error)
}

/// What creation left: a thing, or the text of an error, which is freed.
fn taken<T>(thing: *mut T, error: *mut c_char) -> Result<*mut T, String> {
    assert_ne!(thing.is_null(), error.is_null());
    if error.is_null() {
        return Ok(thing);
    }
    let text = unsafe { CStr::from_ptr(error) }
        .to_str()
        .unwrap()
        .to_owned();
    unsafe { extism_plugin_new_error_free(error) };
    Err(text)
}

fn plain() -> *mut ExtismPlugin {
    new_with(PLAIN, &mut []).unwrap()
}

fn call(plugin: *mut ExtismPlugin, name: &CStr, input: &[u8]) -> i32 {
    unsafe { extism_plugin_call(plugin, name.as_ptr(), input.as_ptr(), input.len() as u64) }
}

fn output(plugin: *mut ExtismPlugin) -> Vec<u8> {
    unsafe {
        let data = extism_plugin_output_data(plugin);
        assert!(!data.is_null());
        std::slice::from_raw_parts(data, extism_plugin_output_length(plugin) as usize).to_vec()
    }
}

fn error(plugin: *mut ExtismPlugin) -> Option<String> {
    let text = unsafe { extism_plugin_error(plugin) };
    assert_eq!(text, unsafe { extism_error(plugin) });
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

unsafe extern "C" fn identity(
    _: *mut ExtismCurrentPlugin,
    inputs: *const ExtismVal,
    n_inputs: ExtismSize,
    outputs: *mut ExtismVal,
    n_outputs: ExtismSize,
    _: *mut c_void,
) {
    assert_eq!((n_inputs, n_outputs), (1, 1));
    unsafe {
        assert_eq!(
            ((*outputs).t, (*outputs).v.i64),
            (ExtismValType::I64 as CValType, 0),
            "preset"
        );
        *outputs = *inputs;
    }
}

/// D2: most of these were a SIGSEGV.
#[test]
fn null_is_an_answer_everywhere() {
    unsafe {
        let plugin = plain();
        let none = null_mut::<ExtismPlugin>();
        // Of the plugin.
        assert_eq!(extism_plugin_call(none, c"echo".as_ptr(), null(), 0), -1);
        assert_eq!(
            extism_plugin_call_with_host_context(none, c"echo".as_ptr(), null(), 0, null_mut()),
            -1
        );
        assert!(extism_plugin_error(none).is_null() && extism_error(none).is_null());
        assert!(extism_plugin_output_data(none).is_null());
        assert_eq!(extism_plugin_output_length(none), 0);
        assert_eq!(extism_plugin_reset(none), 0);
        assert_eq!(extism_plugin_config(none, b"{}".as_ptr(), 2), 0);
        assert_eq!(extism_plugin_function_exists(none, c"echo".as_ptr()), 0);
        assert!(extism_plugin_id(none).is_null());
        assert!(extism_plugin_cancel_handle(none).is_null());
        extism_plugin_allow_http_response_headers(none);
        extism_plugin_free(none);
        // Of names, data and handles.
        assert_eq!(extism_plugin_call(plugin, null(), null(), 0), -1);
        assert!(error(plugin).is_some());
        assert_eq!(extism_plugin_call(plugin, c"echo".as_ptr(), null(), 5), -1);
        assert_eq!(
            error(plugin).unwrap(),
            "5 bytes were given as a null pointer"
        );
        assert_eq!(extism_plugin_call(plugin, c"echo".as_ptr(), null(), 0), 0);
        assert_eq!(output(plugin), b"");
        assert_eq!(extism_plugin_function_exists(plugin, null()), 0);
        assert_eq!(extism_plugin_config(plugin, null(), 0), 0);
        assert_eq!(extism_plugin_config(plugin, null(), 7), 0);
        assert_eq!(extism_plugin_cancel(null()), 0);
        extism_plugin_free(plugin);
        // Of creation.
        assert!(extism_plugin_new_from_compiled(null(), null_mut()).is_null());
        extism_compiled_plugin_free(null_mut());
        extism_plugin_new_error_free(null_mut());
        for size in [0, 9] {
            let mut text = null_mut();
            assert!(extism_plugin_new(null(), size, null_mut(), 0, 0, null_mut()).is_null());
            let plugin = extism_plugin_new(null(), size, null_mut(), 3, 0, &mut text);
            let text = taken(plugin, text).unwrap_err();
            assert!(
                text.starts_with("Unable to compile Extism plugin: "),
                "{text}"
            );
            assert!(
                extism_compiled_plugin_new(null(), size, null_mut(), 0, 0, null_mut()).is_null()
            );
            assert!(
                extism_plugin_new_with_fuel_limit(null(), size, null_mut(), 0, 0, 1, null_mut())
                    .is_null()
            );
            assert!(
                extism_compiled_plugin_new_with_fuel_limit(
                    null(),
                    size,
                    null_mut(),
                    0,
                    0,
                    1,
                    null_mut()
                )
                .is_null()
            );
        }
        let mut functions = [null()];
        let new = new_with(PLAIN, &mut functions);
        assert_eq!(new.unwrap_err(), "Cannot pass null pointer");
        // Without functions their number doesn't count.
        let plugin = extism_plugin_new(
            PLAIN.as_ptr(),
            PLAIN.len() as u64,
            null_mut(),
            1000,
            0,
            null_mut(),
        );
        assert!(!plugin.is_null());
        extism_plugin_free(plugin);
        // Of functions.
        let new = |name, inputs, count, callback| {
            extism_function_new(name, inputs, count, null(), 7, callback, null_mut(), None)
        };
        assert!(new(null(), null(), 0, Some(identity as Callback)).is_null());
        assert!(new(c"f".as_ptr(), null(), 0, None).is_null());
        assert!(new(c"\xff".as_ptr(), null(), 0, Some(identity)).is_null());
        for wrong in [7, -1, CValType::MAX, CValType::MIN] {
            assert!(
                new(c"f".as_ptr(), &wrong, 1, Some(identity)).is_null(),
                "{wrong}"
            );
        }
        assert!(new(c"f".as_ptr(), TYPES.as_ptr(), u64::MAX, Some(identity)).is_null());
        let function = new(c"f".as_ptr(), null(), 5, Some(identity));
        assert!(!function.is_null());
        extism_function_set_namespace(function, null());
        extism_function_set_namespace(null_mut(), c"n".as_ptr());
        extism_function_set_namespace(null_mut(), null());
        extism_function_free(function);
        extism_function_free(null_mut());
        // Of the current plugin.
        assert!(extism_current_plugin_memory(null_mut()).is_null());
        assert!(extism_current_plugin_host_context(null_mut()).is_null());
        assert_eq!(extism_current_plugin_memory_alloc(null_mut(), 5), 0);
        assert_eq!(extism_current_plugin_memory_length(null_mut(), 5), 0);
        extism_current_plugin_memory_free(null_mut(), 5);
        extism_log_drain(None);
    }
}

#[test]
fn sizes_that_no_memory_has_are_errors() {
    unsafe {
        let plugin = plain();
        let byte = 0u8;
        for size in [u64::MAX, 1 << 63] {
            assert_eq!(
                extism_plugin_call(plugin, c"echo".as_ptr(), &byte, size),
                -1
            );
            assert_eq!(error(plugin).unwrap(), "a length is larger than any memory");
            assert_eq!(extism_plugin_config(plugin, &byte, size), 0);
            assert!(extism_plugin_new(&byte, size, null_mut(), 0, 0, null_mut()).is_null());
        }
        extism_plugin_free(plugin);
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = unsafe { CStr::from_ptr(extism_version()) };
    assert_eq!(version.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn calls_have_codes_texts_and_outputs() {
    let plugin = plain();
    assert_eq!(output(plugin), b"");
    assert_eq!(call(plugin, c"echo", b"some input"), 0);
    assert_eq!(
        (output(plugin), error(plugin)),
        (b"some input".to_vec(), None)
    );
    assert_eq!(call(plugin, c"fail", b"the text"), 3);
    assert_eq!(error(plugin).unwrap(), "the text");
    assert_eq!(call(plugin, c"fail", b"cut\0off"), 3);
    assert_eq!(error(plugin).unwrap(), "cut");
    assert_eq!(call(plugin, c"trap", b""), 134);
    assert!(
        error(plugin)
            .unwrap()
            .starts_with("error while executing at wasm backtrace:")
    );
    assert_eq!(call(plugin, c"missing", b""), -1);
    assert_eq!(error(plugin).unwrap(), "Function not found: missing");
    assert_eq!(call(plugin, c"\xff", b""), -1);
    assert!(
        error(plugin)
            .unwrap()
            .starts_with("invalid utf-8 sequence of 1 bytes")
    );
    assert_eq!(call(plugin, c"nothing", b""), 0);
    assert_eq!(error(plugin), None);
    unsafe {
        let id = std::slice::from_raw_parts(extism_plugin_id(plugin), 16);
        let id = uuid::Uuid::from_slice(id).unwrap();
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(extism_plugin_function_exists(plugin, c"echo".as_ptr()), 1);
        assert_eq!(
            extism_plugin_function_exists(plugin, c"missing".as_ptr()),
            0
        );
        extism_plugin_free(plugin);
    }
}

#[test]
fn texts_of_the_plugin_outlive_those_of_the_host() {
    let plugin = plain();
    let exists = || unsafe { extism_plugin_function_exists(plugin, c"echo".as_ptr()) };
    let config =
        |json: &str| unsafe { extism_plugin_config(plugin, json.as_ptr(), json.len() as u64) };
    assert_eq!(call(plugin, c"fail", b"its own"), 3);
    assert_eq!((exists(), config("{}"), config("[]")), (1, 1, 0));
    assert_eq!(error(plugin).unwrap(), "its own");
    for clear in [&exists as &dyn Fn() -> u32, &|| config("{}")] {
        call(plugin, c"missing", b"");
        assert_eq!(config("["), 0);
        assert_eq!(error(plugin).unwrap(), "Function not found: missing");
        clear();
        assert_eq!(error(plugin), None);
    }
    assert_eq!(call(plugin, c"echo", b"output"), 0);
    assert_eq!((exists(), config("{}")), (1, 1));
    assert_eq!(output(plugin), b"output");
    assert_eq!(unsafe { extism_plugin_reset(plugin) }, 1);
    assert_eq!(output(plugin), b"");
    unsafe { extism_plugin_free(plugin) };
}

static FREED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

unsafe extern "C" fn note_free(data: *mut c_void) {
    FREED.lock().unwrap().push(data.addr());
}

fn frees_of(data: usize) -> usize {
    FREED
        .lock()
        .unwrap()
        .iter()
        .filter(|freed| **freed == data)
        .count()
}

#[test]
fn functions_are_used_up_and_their_data_is_freed_once() {
    let new = |data: usize| {
        function(
            identity,
            std::ptr::without_provenance_mut(data),
            Some(note_free),
        )
    };
    unsafe {
        // Freed before the plugin.
        let f = new(1);
        let plugin = new_with(HANDLES, &mut [f]).unwrap();
        assert_eq!(
            new_with(HANDLES, &mut [f]).unwrap_err(),
            "Function cannot be registered with multiple different Plugins"
        );
        extism_function_set_namespace(f, c"elsewhere".as_ptr());
        extism_function_free(f);
        assert_eq!(call(plugin, c"run", b"text"), 0);
        assert_eq!(output(plugin), b"text");
        assert_eq!(frees_of(1), 0);
        extism_plugin_free(plugin);
        assert_eq!(frees_of(1), 1);
        // Used up and freed by a creation that fails.
        let (f, unused) = (new(2), new(3));
        assert!(new_with("nonsense", &mut [f]).is_err());
        assert_eq!(frees_of(2), 1);
        assert!(new_with(HANDLES, &mut [f]).is_err());
        extism_function_free(f);
        assert_eq!(frees_of(2), 1);
        // Never used.
        extism_function_free(unused);
        assert_eq!(frees_of(3), 1);
        // By the last of several plugins.
        let f = new(4);
        let mut functions = [f.cast_const()];
        let compiled = extism_compiled_plugin_new(
            HANDLES.as_ptr(),
            HANDLES.len() as u64,
            functions.as_mut_ptr(),
            1,
            0,
            null_mut(),
        );
        let plugins = [(); 2].map(|()| extism_plugin_new_from_compiled(compiled, null_mut()));
        extism_compiled_plugin_free(compiled);
        for (plugin, freed) in plugins.into_iter().zip([0, 1]) {
            assert_eq!(call(plugin, c"run", b"text"), 0);
            extism_plugin_free(plugin);
            assert_eq!(frees_of(4), freed);
        }
        extism_function_free(f);
        // Never, if it is NULL.
        extism_function_free(new(0));
        assert_eq!(frees_of(0), 0);
    }
}

#[test]
fn the_later_half_of_creation_has_a_text_of_its_own() {
    unsafe {
        let mut text = null_mut();
        let plugin = extism_plugin_new_with_fuel_limit(
            HANDLES.as_ptr(),
            HANDLES.len() as u64,
            null_mut(),
            0,
            0,
            1000,
            &mut text,
        );
        let missing = "unknown import: `extism:host/user::f` has not been defined";
        assert_eq!(
            taken(plugin, text).unwrap_err(),
            format!("Unable to create Extism plugin: {missing}")
        );
        assert_eq!(
            new_with(HANDLES, &mut []).unwrap_err(),
            format!("Unable to compile Extism plugin: {missing}")
        );
        let compiled = extism_compiled_plugin_new(
            HANDLES.as_ptr(),
            HANDLES.len() as u64,
            null_mut(),
            0,
            0,
            null_mut(),
        );
        assert!(!compiled.is_null());
        let mut text = null_mut();
        let plugin = extism_plugin_new_from_compiled(compiled, &mut text);
        assert_eq!(
            taken(plugin, text).unwrap_err(),
            format!("Unable to create Extism plugin: {missing}")
        );
        extism_compiled_plugin_free(compiled);
    }
}

/// D1: JNA passes true as -1, of which the callee sees a byte.
#[test]
fn any_byte_but_0_is_true() {
    let wasi = r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))))"#;
    for (with_wasi, made) in [(0, false), (1, true), (0xff, true)] {
        unsafe {
            let plugin = extism_plugin_new(
                wasi.as_ptr(),
                wasi.len() as u64,
                null_mut(),
                0,
                with_wasi,
                null_mut(),
            );
            assert_eq!(!plugin.is_null(), made, "{with_wasi}");
            extism_plugin_free(plugin);
        }
    }
}

#[test]
fn fuel_is_limited() {
    unsafe {
        let (wasm, size) = (PLAIN.as_ptr(), PLAIN.len() as u64);
        let plugin =
            extism_plugin_new_with_fuel_limit(wasm, size, null_mut(), 0, 0, 10_000, null_mut());
        let compiled = extism_compiled_plugin_new_with_fuel_limit(
            wasm,
            size,
            null_mut(),
            0,
            0,
            10_000,
            null_mut(),
        );
        for plugin in [
            plugin,
            extism_plugin_new_from_compiled(compiled, null_mut()),
        ] {
            assert_eq!(call(plugin, c"spin", b""), -1);
            assert_eq!(error(plugin).unwrap(), "plugin ran out of fuel");
            assert_eq!(call(plugin, c"echo", b"x"), 0);
            extism_plugin_free(plugin);
        }
        extism_compiled_plugin_free(compiled);
    }
}

/// C programs chain calls this way. The plugin's memory was made as new before the input was read, and the text was freed.
#[test]
fn the_last_output_or_error_can_be_the_next_input() {
    let plugin = plain();
    for length in [5, 100_000] {
        let input: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        assert_eq!(call(plugin, c"echo", &input), 0);
        let (data, size) = unsafe {
            (
                extism_plugin_output_data(plugin),
                extism_plugin_output_length(plugin),
            )
        };
        let code = unsafe { extism_plugin_call(plugin, c"echo".as_ptr(), data, size) };
        assert_eq!((code, output(plugin) == input), (0, true), "{length}");
        // A part of it.
        let data = unsafe { extism_plugin_output_data(plugin).add(2) };
        let code = unsafe { extism_plugin_call(plugin, c"echo".as_ptr(), data, size - 3) };
        assert_eq!((code, output(plugin)), (0, input[2..length - 1].to_vec()));
    }
    assert_eq!(call(plugin, c"fail", b"a text of the plugin"), 3);
    let text = unsafe { extism_plugin_error(plugin) };
    let code = unsafe { extism_plugin_call(plugin, c"echo".as_ptr(), text.cast(), 20) };
    assert_eq!(
        (code, output(plugin)),
        (0, b"a text of the plugin".to_vec())
    );
    assert_eq!(call(plugin, c"missing", b""), -1);
    let text = unsafe { extism_plugin_error(plugin) };
    assert_eq!(unsafe { extism_plugin_function_exists(plugin, text) }, 0);
    unsafe { extism_plugin_free(plugin) };
}

/// They were borrowed as what no Rust program may have.
#[test]
fn lists_at_odd_addresses_are_errors() {
    unsafe {
        let place = TYPES.as_ptr().cast::<u8>().wrapping_add(1).cast();
        let new = |inputs, outputs| {
            let func = Some(identity as Callback);
            extism_function_new(c"f".as_ptr(), inputs, 1, outputs, 1, func, null_mut(), None)
        };
        assert!(new(place, null()).is_null());
        assert!(new(null(), place).is_null());
        let functions = [null::<ExtismFunction>(); 2];
        let place = functions.as_ptr().cast::<u8>().wrapping_add(1).cast_mut();
        let mut text = null_mut();
        let (wasm, size) = (PLAIN.as_ptr(), PLAIN.len() as u64);
        let plugin = extism_plugin_new(wasm, size, place.cast(), 1, 0, &mut text);
        let text = taken(plugin, text).unwrap_err();
        assert_eq!(text, "a list lies at an address that none can have");
    }
}

/// What the kernel does for `reset` was the plugin's to pay, which may have had too little.
#[test]
fn a_reset_needs_no_fuel() {
    unsafe {
        let (wasm, size) = (PLAIN.as_ptr(), PLAIN.len() as u64);
        for fuel in [0, 1] {
            let plugin =
                extism_plugin_new_with_fuel_limit(wasm, size, null_mut(), 0, 0, fuel, null_mut());
            assert_eq!(extism_plugin_reset(plugin), 1);
            assert_eq!(call(plugin, c"nothing", b""), -1);
            assert_eq!(error(plugin).unwrap(), "plugin ran out of fuel");
            assert_eq!(extism_plugin_reset(plugin), 1);
            extism_plugin_free(plugin);
        }
    }
}

/// The plugin that a host function attacks.
static SELF: AtomicPtr<ExtismPlugin> = AtomicPtr::new(null_mut());
static OTHER: AtomicPtr<ExtismPlugin> = AtomicPtr::new(null_mut());
static INSIDE: AtomicI32 = AtomicI32::new(0);

/// D16: the first three deadlocked.
unsafe extern "C" fn reenter(
    _: *mut ExtismCurrentPlugin,
    _: *const ExtismVal,
    _: ExtismSize,
    _: *mut ExtismVal,
    _: ExtismSize,
    _: *mut c_void,
) {
    let plugin = SELF.load(Ordering::SeqCst);
    unsafe {
        let answers = [
            extism_plugin_call(plugin, c"run".as_ptr(), null(), 0) == -1,
            extism_plugin_error(plugin).is_null() && extism_error(plugin).is_null(),
            extism_plugin_output_data(plugin).is_null() && extism_plugin_output_length(plugin) == 0,
            extism_plugin_reset(plugin) == 0,
            extism_plugin_config(plugin, b"{\"a\":\"b\"}".as_ptr(), 9) == 1,
            extism_plugin_function_exists(plugin, c"run".as_ptr()) == 1,
            !extism_plugin_id(plugin).is_null(),
            !extism_plugin_cancel_handle(plugin).is_null(),
            call(OTHER.load(Ordering::SeqCst), c"echo", b"other") == 0,
            output(OTHER.load(Ordering::SeqCst)) == b"other",
        ];
        extism_plugin_allow_http_response_headers(plugin);
        let right = answers.iter().filter(|answer| **answer).count();
        INSIDE.store(right as i32, Ordering::SeqCst);
    }
}

unsafe extern "C" fn free_itself(
    _: *mut ExtismCurrentPlugin,
    _: *const ExtismVal,
    _: ExtismSize,
    _: *mut ExtismVal,
    _: ExtismSize,
    _: *mut c_void,
) {
    unsafe { extism_plugin_free(SELF.load(Ordering::SeqCst)) };
}

#[test]
fn a_host_function_can_ask_anything_of_its_own_plugin() {
    unsafe {
        let f = function(reenter, null_mut(), None);
        let plugin = new_with(HANDLES, &mut [f]).unwrap();
        let other = plain();
        SELF.store(plugin, Ordering::SeqCst);
        OTHER.store(other, Ordering::SeqCst);
        assert_eq!(call(plugin, c"run", b"x"), 0);
        assert_eq!(INSIDE.load(Ordering::SeqCst), 10);
        assert_eq!(error(plugin), None);
        extism_plugin_free(plugin);
        extism_plugin_free(other);
        extism_function_free(f);
        // It may even free it: that is done when the call is over.
        let data = std::ptr::without_provenance_mut(5);
        let f = function(free_itself, data, Some(note_free));
        let plugin = new_with(HANDLES, &mut [f]).unwrap();
        SELF.store(plugin, Ordering::SeqCst);
        assert_eq!(call(plugin, c"run", b"x"), 0);
        assert_eq!(frees_of(5), 1);
        extism_function_free(f);
    }
}

/// Writes a value of the type that the data says.
unsafe extern "C" fn wrong_type(
    _: *mut ExtismCurrentPlugin,
    _: *const ExtismVal,
    _: ExtismSize,
    outputs: *mut ExtismVal,
    _: ExtismSize,
    data: *mut c_void,
) {
    unsafe { (*outputs).t = data.addr() as u32 as CValType };
}

#[test]
fn another_tag_fails_the_call() {
    for tag in [0, 2, 3, 4, 5, 6, 7, 0xffff_ffff, 0x7fff_ffff] {
        unsafe {
            let f = function(wrong_type, std::ptr::without_provenance_mut(tag), None);
            let plugin = new_with(HANDLES, &mut [f]).unwrap();
            assert_eq!(call(plugin, c"run", b"x"), -1, "{tag}");
            extism_plugin_free(plugin);
            extism_function_free(f);
        }
    }
}

/// D3: it aborted.
#[test]
fn types_that_c_has_no_values_for_are_errors_at_creation() {
    for ty in [
        ExtismValType::V128,
        ExtismValType::FuncRef,
        ExtismValType::ExternRef,
    ] {
        unsafe {
            let types = [ty as CValType];
            let f = extism_function_new(
                c"f".as_ptr(),
                types.as_ptr(),
                1,
                null(),
                0,
                Some(identity),
                null_mut(),
                None,
            );
            let error = new_with(HANDLES, &mut [f]).unwrap_err();
            assert_eq!(
                error,
                format!("Unable to compile Extism plugin: host function f can't have a {ty:?}")
            );
            extism_function_free(f);
        }
    }
}

unsafe extern "C" fn memory(
    plugin: *mut ExtismCurrentPlugin,
    inputs: *const ExtismVal,
    _: ExtismSize,
    outputs: *mut ExtismVal,
    _: ExtismSize,
    _: *mut c_void,
) {
    unsafe {
        let handle = (*inputs).v.i64 as u64;
        let length = extism_current_plugin_memory_length(plugin, handle);
        for unknown in [0, 1, handle + 1, u64::MAX] {
            assert_eq!(extism_current_plugin_memory_length(plugin, unknown), 0);
            extism_current_plugin_memory_free(plugin, unknown);
        }
        for much in [0, 1 << 32, u64::MAX] {
            assert_eq!(extism_current_plugin_memory_alloc(plugin, much), 0);
        }
        let context = extism_current_plugin_host_context(plugin);
        let text = match context.is_null() {
            true => c"none",
            false => CStr::from_ptr(context.cast()),
        };
        let bytes = text.to_bytes();
        // Large, so that the memory grows, and moves.
        let new = extism_current_plugin_memory_alloc(plugin, 1 << 20);
        let base = extism_current_plugin_memory(plugin);
        assert_eq!(
            std::slice::from_raw_parts(base.add(handle as usize), length as usize),
            b"some input"
        );
        let block = extism_current_plugin_memory_alloc(plugin, bytes.len() as u64);
        std::ptr::copy(
            bytes.as_ptr(),
            extism_current_plugin_memory(plugin).add(block as usize),
            bytes.len(),
        );
        extism_current_plugin_memory_free(plugin, new);
        (*outputs).v.i64 = block as i64;
    }
}

#[test]
fn host_functions_get_at_memory_and_context() {
    unsafe {
        let f = function(memory, null_mut(), None);
        let plugin = new_with(HANDLES, &mut [f]).unwrap();
        for context in [Some(c"of this call"), None, Some(c"of another")] {
            let pointer = context.map_or(null_mut(), |text: &CStr| text.as_ptr().cast_mut().cast());
            let input = b"some input";
            let code = extism_plugin_call_with_host_context(
                plugin,
                c"run".as_ptr(),
                input.as_ptr(),
                10,
                pointer,
            );
            assert_eq!((code, error(plugin)), (0, None));
            assert_eq!(output(plugin), context.unwrap_or(c"none").to_bytes());
        }
        extism_plugin_free(plugin);
        extism_function_free(f);
    }
}

thread_local! {
    /// Where this thread's stack begins, and how large it is.
    static STACK: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

#[inline(never)]
fn address_on_the_stack() -> usize {
    let local = std::hint::black_box(0_u8);
    (&raw const local).addr()
}

/// Returns the input backwards, and has the plugin that its data is do the same.
unsafe extern "C" fn reverse(
    plugin: *mut ExtismCurrentPlugin,
    inputs: *const ExtismVal,
    _: ExtismSize,
    outputs: *mut ExtismVal,
    _: ExtismSize,
    inner: *mut c_void,
) {
    let (start, bytes) = STACK.get();
    assert!((start - bytes..start).contains(&address_on_the_stack()));
    unsafe {
        let handle = (*inputs).v.i64 as u64;
        let length = extism_current_plugin_memory_length(plugin, handle);
        // Large, so that the memory grows.
        let large = extism_current_plugin_memory_alloc(plugin, 1 << 20);
        assert_ne!(large, 0);
        let block = extism_current_plugin_memory_alloc(plugin, length);
        let base = extism_current_plugin_memory(plugin);
        let input = std::slice::from_raw_parts(base.add(handle as usize), length as usize);
        let reversed = input.iter().rev().copied().collect::<Vec<u8>>();
        let input = input.to_vec();
        std::ptr::copy(reversed.as_ptr(), base.add(block as usize), reversed.len());
        extism_current_plugin_memory_free(plugin, large);
        assert_eq!(extism_current_plugin_memory_length(plugin, large), 0);
        if !inner.is_null() {
            assert_eq!(call(inner.cast(), c"run", &input), 0);
            assert_eq!(output(inner.cast()), reversed);
        }
        (*outputs).v.i64 = block as i64;
    }
}

/// Waits until the call's time is up, which is found out by what asks the plugin for something.
unsafe extern "C" fn oversleep(
    plugin: *mut ExtismCurrentPlugin,
    _: *const ExtismVal,
    _: ExtismSize,
    _: *mut ExtismVal,
    _: ExtismSize,
    _: *mut c_void,
) {
    thread::sleep(Duration::from_millis(100));
    unsafe { extism_current_plugin_memory_alloc(plugin, 1 << 20) };
}

/// D12: where another stack is lent for WebAssembly, host functions don't run on that: Java's virtual machine refused, and its host
/// functions did nothing.
#[test]
fn host_functions_run_on_the_stack_of_their_thread() {
    for bytes in [128 << 10, 256 << 10, 512 << 10, 1 << 20, 8 << 20] {
        let small = thread::Builder::new()
            .stack_size(bytes)
            .spawn(move || unsafe {
                STACK.set((address_on_the_stack(), bytes));
                let mut plugins = [null_mut::<ExtismPlugin>(); 4];
                for i in 1..plugins.len() {
                    let f = function(reverse, plugins[i - 1].cast(), None);
                    plugins[i] = new_with(HANDLES, &mut [f]).unwrap();
                    extism_function_free(f);
                }
                for _ in 0..3 {
                    assert_eq!(call(plugins[3], c"run", b"forwards"), 0);
                    assert_eq!(output(plugins[3]), b"sdrawrof");
                }
                for plugin in plugins {
                    extism_plugin_free(plugin);
                }
                let f = function(oversleep, null_mut(), None);
                let manifest = format!(
                    r#"{{"wasm": [{{"data": {{"ptr": {}, "len": {}}}}}], "timeout_ms": 50}}"#,
                    HANDLES.as_ptr().addr(),
                    HANDLES.len()
                );
                let plugin = new_with(&manifest, &mut [f]).unwrap();
                assert_eq!(call(plugin, c"run", b""), 134);
                assert_eq!(error(plugin).as_deref(), Some("timeout"));
                extism_plugin_free(plugin);
                extism_function_free(f);
            });
        small.unwrap().join().unwrap();
    }
}

/// D4: it dangled.
#[test]
fn a_cancel_handle_outlives_its_plugin() {
    unsafe {
        let plugin = plain();
        let handle = extism_plugin_cancel_handle(plugin);
        assert_eq!(handle, extism_plugin_cancel_handle(plugin));
        assert_eq!(extism_plugin_cancel(handle), 1);
        let number = handle.addr();
        let canceller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            extism_plugin_cancel(std::ptr::without_provenance(number))
        });
        assert_eq!(call(plugin, c"spin", b""), 134);
        assert_eq!(error(plugin).unwrap(), "timeout");
        assert_eq!(canceller.join().unwrap(), 1);
        extism_plugin_free(plugin);
        assert_eq!(extism_plugin_cancel(handle), 0);
        assert_eq!(
            extism_plugin_cancel(std::ptr::without_provenance(usize::MAX)),
            0
        );
    }
}

#[test]
fn calls_of_one_plugin_wait_for_each_other() {
    let plugin = AtomicPtr::new(plain());
    thread::scope(|scope| {
        for text in ["one", "two", "three", "four"] {
            let plugin = plugin.load(Ordering::SeqCst).addr();
            let plugin: *mut ExtismPlugin = std::ptr::with_exposed_provenance_mut(plugin);
            let plugin = AtomicPtr::new(plugin);
            scope.spawn(move || {
                for _ in 0..200 {
                    assert_eq!(
                        call(plugin.load(Ordering::SeqCst), c"echo", text.as_bytes()),
                        0
                    );
                }
            });
        }
    });
    unsafe { extism_plugin_free(plugin.into_inner()) };
}

#[test]
fn a_manifest_may_name_this_process_memory() {
    let manifest = |ptr: *const u8, len: usize| {
        format!(
            r#"{{"wasm": [{{"data": {{"ptr": {}, "len": {len}}}}}]}}"#,
            ptr.expose_provenance()
        )
    };
    let plugin = new_with(&manifest(PLAIN.as_ptr(), PLAIN.len()), &mut []).unwrap();
    assert_eq!(call(plugin, c"echo", b"x"), 0);
    unsafe { extism_plugin_free(plugin) };
    // D6: it was read.
    for wrong in [
        manifest(null(), 0),
        manifest(null(), 97),
        r#"{"wasm": [{"data": [0, 97]}]}"#.to_owned(),
    ] {
        let error = new_with(&wrong, &mut []).unwrap_err();
        assert!(
            error.starts_with("Unable to compile Extism plugin: Unknown manifest format: "),
            "{error}"
        );
    }
    let toml = format!(
        "wasm = [{{ data = {{ ptr = {}, len = {} }} }}]",
        PLAIN.as_ptr().addr(),
        PLAIN.len()
    );
    assert!(new_with(&toml, &mut []).is_err());
}

static LINES: AtomicUsize = AtomicUsize::new(0);

/// D27: the API called in here deadlocked.
unsafe extern "C" fn drain(data: *const c_char, size: ExtismSize) {
    let line = unsafe { CStr::from_ptr(data) }.to_str().unwrap();
    assert_eq!(line.len() as u64, size);
    // Other tests log, too.
    if !(line.contains(" INFO extism::pdk: a line plugin=\"") && line.ends_with("\"\n")) {
        return;
    }
    LINES.fetch_add(1, Ordering::SeqCst);
    unsafe {
        assert_eq!(extism_log_custom(c"info".as_ptr()), 0);
        extism_log_drain(Some(drain));
        let plugin = plain();
        assert_eq!(call(plugin, c"echo", b"x"), 0);
        assert_eq!(call(plugin, c"missing", b"x"), -1);
        extism_plugin_free(plugin);
    }
}

/// D26: a second `log_custom` or `log_file` detached the lines from `log_drain`.
#[test]
fn lines_are_kept_until_they_are_drained() {
    let log = r#"(module
      (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
      (import "extism:host/env" "log_info" (func $log_info (param i64)))
      (import "extism:host/env" "log_debug" (func $log_debug (param i64)))
      (import "extism:host/env" "get_log_level" (func $level (result i32)))
      (func (export "log") (call $log_info (call $input_offset)))
      (func (export "debug") (call $log_debug (call $input_offset)))
      (func (export "level") (result i32) (call $level)))"#;
    unsafe {
        let plugin = new_with(log, &mut []).unwrap();
        assert_eq!(call(plugin, c"level", b""), i32::MAX);
        // D3: it aborted.
        assert_eq!(
            extism_log_file(c"/nonexistent/folder/file".as_ptr(), null()),
            0
        );
        assert_eq!(extism_log_file(c"\xff".as_ptr(), null()), 0);
        assert_eq!(extism_log_custom(c"\xff".as_ptr()), 0);
        assert_eq!(extism_log_custom(c"info".as_ptr()), 1);
        assert_eq!(extism_log_custom(c"trace".as_ptr()), 0);
        assert_eq!(extism_log_file(null(), null()), 0);
        assert_eq!(call(plugin, c"level", b""), 2);
        for line in ["a line", "with\0NUL", "a line"] {
            let line = CString::new(line.replace('\0', "\u{1}")).unwrap();
            assert_eq!(call(plugin, c"log", line.to_bytes()), 0);
        }
        assert_eq!(call(plugin, c"log", b"with \0"), 0);
        assert_eq!(call(plugin, c"debug", b"a line"), 0);
        extism_log_drain(Some(drain));
        assert_eq!(LINES.load(Ordering::SeqCst), 2);
        extism_plugin_free(plugin);
    }
}
