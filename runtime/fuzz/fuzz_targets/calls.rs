//! Sequences of calls of the C API, also from within host functions, with everything that a C program may pass: nulls, names
//! and handles of nothing, plugins and functions that are freed while they are in use. What it may not, it doesn't: to use what
//! it has freed.
#![no_main]

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, CString, c_char, c_void},
    ptr::{null, null_mut},
    slice,
    sync::{Mutex, Once},
};

use arbitrary::Arbitrary;
use extism::c_api::{
    CBoolResult, ExtismSize, compiled::*, current_plugin::*, function::*, log::*, plugin::*,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug, Clone)]
enum Op {
    Function {
        name: u8,
        inputs: Types,
        outputs: Types,
        namespace: Option<u8>,
        data: bool,
    },
    FreeFunction(u8),
    Plugin(u8, Making),
    Compiled(u8, Making),
    FromCompiled(u8, u8),
    FreeCompiled(u8),
    Call {
        plugin: u8,
        name: u8,
        input: Input,
        context: bool,
    },
    Look(u8),
    Config(u8, u8),
    Exists(u8, u8),
    Reset(u8),
    AllowHeaders(u8),
    Free(u8),
    Cancel(u8),
    CancelNumber(u64),
    Drain,
    /// What only host functions do; nothing elsewhere.
    Alloc(u64),
    FreeBlock(Block),
    Length(Block),
    Write(Block, u8),
    Result(i32, u64),
    /// The host function is over.
    Return,
}

#[derive(Arbitrary, Debug, Clone)]
struct Making {
    source: u8,
    functions: [u8; 3],
    wasi: u8,
    fuel: Option<u16>,
    two_modules: bool,
    timeout: u8,
    max_pages: Option<u8>,
    with_text: bool,
}

#[derive(Arbitrary, Debug, Clone)]
enum Types {
    None,
    Handle,
    These(Vec<i8>),
}

#[derive(Arbitrary, Debug, Clone)]
enum Input {
    Null(u8),
    Bytes(Vec<u8>),
    Many(u16),
    /// What the plugin gave last, from so many bytes on.
    LastOutput(u8),
    LastError,
}

#[derive(Arbitrary, Debug, Clone)]
enum Block {
    Argument,
    Allocated,
    Number(u64),
}

/// Everything that host functions can be called for, at every time at which they can be called.
const BUSY: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
  (import "extism:host/env" "log_error" (func $log (param i64)))
  (import "extism:host/user" "f" (func $f (param i64) (result i64)))
  (memory (export "memory") 1 200)
  (func $output (param $block i64) (call $output_set (local.get $block) (call $length (local.get $block))))
  (func $begin (export "begin") (drop (call $f (i64.const 0))))
  (;START;)
  (func (export "run") (call $output (call $f (call $input_offset))))
  (func (export "echo") (call $output_set (call $input_offset) (call $input_length)))
  (func (export "fail") (result i32) (call $error_set (call $f (call $input_offset))) (i32.const 3))
  (func (export "trap") (drop (call $f (call $input_offset))) unreachable)
  (func (export "spin") (loop $again (br $again)))
  (func (export "grow") (drop (memory.grow (i32.const 7))) (drop (call $alloc (i64.const 500000))) (call $begin))
  (func (export "set") (call $var_set (call $f (call $input_offset)) (call $alloc (i64.const 70000))))
  (func (export "get") (call $output (call $var_get (call $f (call $input_offset)))))
  (func (export "config") (call $output (call $config_get (call $f (call $input_offset)))))
  (func (export "http") (drop (call $http (call $f (call $input_offset)) (i64.const 0))))
  (func (export "log") (call $log (call $f (call $input_offset))))
  (func (export "free") (call $free (call $f (call $input_offset))) (call $begin))
  (func (export "number") (result i64) (i64.const 7)))"#;

const OTHER: &str = r#"(module
  (import "extism:host/user" "f" (func $f (param i64) (result i64)))
  (func (export "start") (drop (call $f (i64.const 0)))))"#;

/// What becomes of `BUSY` by what stands in the place of its mark.
const STARTS: [&str; 6] = [
    "",
    "(start $begin)",
    r#"(func (export "_initialize") (call $begin))"#,
    r#"(func (export "__wasm_call_ctors") (call $begin))"#,
    r#"(func (export "_start") (call $begin))"#,
    r#"(func (export "hs_init") (param i32 i32) (call $begin))"#,
];

const PLUGINS: [&str; 8] = [
    include_str!("../../../tests/plugins/echo.wat"),
    include_str!("../../../tests/plugins/fail.wat"),
    include_str!("../../../tests/plugins/hostile.wat"),
    include_str!("../../../tests/plugins/log.wat"),
    include_str!("../../../tests/plugins/vars.wat"),
    include_str!("../../../tests/plugins/wasi.wat"),
    "(module (import \"extism:host/user\" \"missing\" (func)))",
    "\u{1}nonsense",
];

const NAMES: [Option<&CStr>; 36] = [
    None,
    Some(c""),
    Some(c"\xff"),
    Some(c"f"),
    Some(c"missing"),
    Some(c"begin"),
    Some(c"run"),
    Some(c"echo"),
    Some(c"fail"),
    Some(c"trap"),
    Some(c"spin"),
    Some(c"grow"),
    Some(c"set"),
    Some(c"get"),
    Some(c"config"),
    Some(c"http"),
    Some(c"log"),
    Some(c"free"),
    Some(c"number"),
    Some(c"_start"),
    Some(c"_initialize"),
    Some(c"hs_init"),
    Some(c"error_text"),
    Some(c"error_text_and_trap"),
    Some(c"endless"),
    Some(c"has_parameter"),
    Some(c"alloc_forever"),
    Some(c"any_handle"),
    Some(c"input_wraps"),
    Some(c"output_wraps"),
    Some(c"overwrite_everything"),
    Some(c"log_each_level"),
    Some(c"exit_3"),
    Some(c"ask"),
    Some(c"set_to_itself"),
    Some(c"extism:host/user"),
];

const CONFIGS: [&str; 5] = [
    "{}",
    "{\"key\": \"value\"}",
    "{\"key\": null}",
    "[",
    "{\"key\": 1}",
];

fn name(number: u8) -> *const c_char {
    NAMES[usize::from(number) % NAMES.len()].map_or(null(), CStr::as_ptr)
}

/// How deep host functions call plugins, whose host functions call plugins.
const DEPTH: usize = 4;

/// A thing that the program has, and how many calls are borrowing it; those wait for no other thread, as all of this is one.
struct Thing<T> {
    pointer: *mut T,
    borrowed: usize,
}

impl<T> Default for Thing<T> {
    fn default() -> Self {
        Self {
            pointer: null_mut(),
            borrowed: 0,
        }
    }
}

/// The last place of each stays empty: null.
#[derive(Default)]
struct World {
    /// The next is the last one.
    ops: Vec<Op>,
    functions: [Thing<ExtismFunction>; 5],
    compiled: [Thing<ExtismCompiledPlugin>; 4],
    plugins: [Thing<ExtismPlugin>; 4],
    handles: Vec<*const ExtismCancelHandle>,
    depth: usize,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
    /// User data that is not freed yet.
    static ALIVE: Cell<isize> = const { Cell::new(0) };
}

/// Not while something is called that may call back.
fn world<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(f)
}

fn place<T, const N: usize>(things: &mut [Thing<T>; N], number: u8) -> Option<&mut Thing<T>> {
    things[..N - 1].get_mut(usize::from(number) % N)
}

fn plugin(number: u8) -> *mut ExtismPlugin {
    world(|world| place(&mut world.plugins, number).map_or(null_mut(), |thing| thing.pointer))
}

unsafe extern "C" fn free_data(data: *mut c_void) {
    // SAFETY: it was made by `Box::into_raw`, and is freed once: AddressSanitizer looks at that.
    drop(unsafe { Box::from_raw(data.cast::<u64>()) });
    ALIVE.set(ALIVE.get() - 1);
}

/// The host function in the midst of which the following operations are.
struct Inside {
    plugin: *mut ExtismCurrentPlugin,
    argument: u64,
    allocated: u64,
    outputs: *mut ExtismVal,
    n_outputs: usize,
}

unsafe extern "C" fn callback(
    plugin: *mut ExtismCurrentPlugin,
    inputs: *const ExtismVal,
    n_inputs: ExtismSize,
    outputs: *mut ExtismVal,
    n_outputs: ExtismSize,
    data: *mut c_void,
) {
    let mut inside = Inside {
        plugin,
        argument: 0,
        allocated: 0,
        outputs,
        n_outputs: n_outputs as usize,
    };
    // SAFETY: the library says so.
    unsafe {
        assert_eq!(inputs.is_null(), n_inputs == 0);
        assert_eq!(outputs.is_null(), n_outputs == 0);
        if n_inputs > 0 {
            inside.argument = (*inputs).v.i64 as u64;
        }
        if n_outputs > 0 && n_inputs > 0 && (*outputs).t == (*inputs).t {
            *outputs = *inputs;
        }
        assert!(data.is_null() || *data.cast::<u64>() == 77);
        std::hint::black_box(extism_current_plugin_host_context(plugin));
    }
    if world(|world| world.depth) > DEPTH {
        return;
    }
    while let Some(op) = world(|world| world.ops.pop()) {
        if matches!(op, Op::Return) {
            break;
        }
        perform(op, Some(&mut inside));
    }
}

impl Inside {
    fn block(&self, block: &Block) -> u64 {
        match block {
            Block::Argument => self.argument,
            Block::Allocated => self.allocated,
            Block::Number(number) => *number,
        }
    }

    fn perform(&mut self, op: Op) {
        // SAFETY: the plugin is the one that is calling; what is written is within the block.
        unsafe {
            match op {
                Op::Alloc(size) => {
                    self.allocated = extism_current_plugin_memory_alloc(self.plugin, size);
                }
                Op::FreeBlock(block) => {
                    extism_current_plugin_memory_free(self.plugin, self.block(&block));
                }
                Op::Length(block) => {
                    std::hint::black_box(extism_current_plugin_memory_length(
                        self.plugin,
                        self.block(&block),
                    ));
                }
                Op::Write(block, byte) => {
                    let block = self.block(&block);
                    let length = extism_current_plugin_memory_length(self.plugin, block) as usize;
                    let memory = extism_current_plugin_memory(self.plugin);
                    if length > 0 {
                        slice::from_raw_parts_mut(memory.add(block as usize), length).fill(byte);
                    }
                }
                Op::Result(tag, value) if self.n_outputs > 0 => {
                    // Most of the time the right one: a wrong one ends the call.
                    if tag % 8 == 0 {
                        (*self.outputs).t = tag / 8;
                    }
                    (*self.outputs).v.i64 = match value % 4 {
                        0 => self.argument as i64,
                        1 => self.allocated as i64,
                        _ => value as i64,
                    };
                }
                _ => {}
            }
        }
    }
}

impl Types {
    fn numbers(&self) -> Vec<CValType> {
        match self {
            Self::None => vec![],
            Self::Handle => vec![ExtismValType::I64 as CValType],
            Self::These(types) => types.iter().map(|ty| CValType::from(*ty) % 8).collect(),
        }
    }
}

impl Making {
    fn text(&self) -> String {
        let source = usize::from(self.source) % (STARTS.len() + PLUGINS.len());
        let code = match STARTS.get(source) {
            Some(start) => BUSY.replace("(;START;)", start),
            None => PLUGINS[source - STARTS.len()].to_owned(),
        };
        // The text is needed until the modules are compiled, and that many there aren't.
        let code: &'static str = interned(code);
        let module = |name: &str, code: &str| {
            let (ptr, len) = (code.as_ptr().expose_provenance(), code.len());
            format!(r#"{{"name": "{name}", "data": {{"ptr": {ptr}, "len": {len}}}}}"#)
        };
        let mut modules = vec![module("main", code)];
        if self.two_modules {
            modules.insert(0, module("other", OTHER));
        }
        let pages = self
            .max_pages
            .map_or("null".to_owned(), |pages| pages.to_string());
        format!(
            r#"{{"wasm": [{}], "timeout_ms": {}, "memory": {{"max_pages": {pages}}}, "config": {{"a": "b"}}}}"#,
            modules.join(", "),
            5 + u32::from(self.timeout) % 20,
        )
    }

    /// Makes something by one of the functions that do, which gets all of this.
    fn make<T>(
        &self,
        plain: unsafe extern "C" fn(
            *const u8,
            ExtismSize,
            *mut *const ExtismFunction,
            ExtismSize,
            u8,
            *mut *mut c_char,
        ) -> *mut T,
        with_fuel: unsafe extern "C" fn(
            *const u8,
            ExtismSize,
            *mut *const ExtismFunction,
            ExtismSize,
            u8,
            u64,
            *mut *mut c_char,
        ) -> *mut T,
    ) -> *mut T {
        let text = self.text();
        let mut functions: Vec<_> = world(|world| {
            let functions = self.functions.iter().map(|number| {
                let known = &world.functions[usize::from(*number) % 5];
                known.pointer.cast_const()
            });
            // A null is an error; mostly there is none.
            functions
                .filter(|function| !function.is_null() || self.wasi % 16 == 3)
                .collect()
        });
        let (wasm, size) = (text.as_ptr(), text.len() as u64);
        let (list, count) = (functions.as_mut_ptr(), functions.len() as u64);
        let mut error = null_mut();
        let place = match self.with_text {
            true => &mut error,
            false => null_mut(),
        };
        // SAFETY: all of this lives until the function is over, and the functions at least until they are taken.
        let made = unsafe {
            match self.fuel {
                Some(fuel) => with_fuel(wasm, size, list, count, self.wasi, u64::from(fuel), place),
                None => plain(wasm, size, list, count, self.wasi, place),
            }
        };
        assert!(error.is_null() || made.is_null());
        assert!(!error.is_null() || !made.is_null() || !self.with_text);
        if !error.is_null() {
            // SAFETY: it is from there.
            unsafe {
                assert!(!CStr::from_ptr(error).is_empty());
                extism_plugin_new_error_free(error);
            }
        }
        made
    }
}

/// The same text for ever, where the leak detector finds it.
fn interned(text: String) -> &'static str {
    static TEXTS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut texts = TEXTS.lock().unwrap();
    if let Some(known) = texts.iter().find(|known| **known == text) {
        return known;
    }
    texts.push(Box::leak(text.into_boxed_str()));
    texts[texts.len() - 1]
}

unsafe extern "C" fn drain(data: *const c_char, size: ExtismSize) {
    // SAFETY: the library says so.
    let line = unsafe { CStr::from_ptr(data) };
    assert_eq!(line.count_bytes() as u64, size);
}

/// Reads all that the plugin shows.
fn look(plugin: *mut ExtismPlugin) {
    // SAFETY: the plugin is null or alive.
    unsafe {
        let error = extism_plugin_error(plugin);
        if !error.is_null() {
            std::hint::black_box(CStr::from_ptr(error).count_bytes());
        }
        let (data, size) = (
            extism_plugin_output_data(plugin),
            extism_plugin_output_length(plugin),
        );
        if !data.is_null() {
            let output = slice::from_raw_parts(data, size as usize);
            std::hint::black_box(output.iter().fold(0u8, |sum, byte| sum ^ byte));
        }
        let id = extism_plugin_id(plugin);
        assert_eq!(id.is_null(), plugin.is_null());
        if !id.is_null() {
            std::hint::black_box(slice::from_raw_parts(id, 16).to_vec());
        }
    }
}

fn call(number: u8, function: u8, input: &Input, context: bool) {
    let plugin = plugin(number);
    let (mut bytes, mut data, mut size) = (vec![], null(), 0);
    match input {
        Input::Null(length) => size = u64::from(*length % 2),
        Input::Bytes(given) => bytes.clone_from(given),
        Input::Many(count) => bytes = vec![7; usize::from(*count)],
        // SAFETY: the plugin is null or alive.
        Input::LastOutput(skip) => unsafe {
            let length = extism_plugin_output_length(plugin);
            let skip = u64::from(*skip).min(length);
            data = extism_plugin_output_data(plugin).wrapping_add(skip as usize);
            size = length - skip;
        },
        // SAFETY: the same.
        Input::LastError => unsafe {
            let error = extism_plugin_error(plugin);
            if !error.is_null() {
                data = error.cast();
                size = CStr::from_ptr(error).count_bytes() as u64;
            }
        },
    }
    if let Input::Bytes(_) | Input::Many(_) = input {
        (data, size) = (bytes.as_ptr(), bytes.len() as u64);
    }
    let mut here = 77u64;
    let context = match context {
        true => (&raw mut here).cast(),
        false => null_mut(),
    };
    world(|world| world.depth += 1);
    // SAFETY: the plugin is null or alive; what frees it meanwhile is a host function that it calls itself.
    let code = unsafe {
        extism_plugin_call_with_host_context(plugin, name(function), data, size, context)
    };
    world(|world| world.depth -= 1);
    if plugin.is_null() {
        assert_eq!(code, -1);
    }
}

fn perform(op: Op, inside: Option<&mut Inside>) {
    // SAFETY: what is freed is gone from the world, and compiled plugins aren't freed while they are made use of.
    unsafe {
        match op {
            Op::Function {
                name: n,
                inputs,
                outputs,
                namespace,
                data,
            } => {
                let (inputs, outputs) = (inputs.numbers(), outputs.numbers());
                let data: *mut c_void = match data {
                    true => Box::into_raw(Box::new(77u64)).cast(),
                    false => null_mut(),
                };
                let function = extism_function_new(
                    name(n),
                    inputs.as_ptr(),
                    inputs.len() as u64,
                    outputs.as_ptr(),
                    outputs.len() as u64,
                    Some(callback),
                    data,
                    Some(free_data),
                );
                if !data.is_null() {
                    ALIVE.set(ALIVE.get() + 1);
                    if function.is_null() {
                        free_data(data);
                    }
                }
                if let Some(namespace) = namespace {
                    extism_function_set_namespace(function, name(namespace));
                }
                let old = world(|world| {
                    let place = world.functions[..4].iter_mut();
                    let mut empty = place.filter(|place| place.pointer.is_null());
                    match empty.next() {
                        Some(place) => std::mem::replace(&mut place.pointer, function),
                        None => std::mem::replace(&mut world.functions[0].pointer, function),
                    }
                });
                extism_function_free(old);
            }
            Op::FreeFunction(number) => {
                let function = world(|world| {
                    place(&mut world.functions, number).map_or(null_mut(), |place| {
                        std::mem::replace(&mut place.pointer, null_mut())
                    })
                });
                extism_function_free(function);
            }
            Op::Plugin(number, making) => {
                put(number, || {
                    making.make(extism_plugin_new, extism_plugin_new_with_fuel_limit)
                });
            }
            Op::Compiled(number, making) => {
                let made = making.make(
                    extism_compiled_plugin_new,
                    extism_compiled_plugin_new_with_fuel_limit,
                );
                let left = world(|world| match place(&mut world.compiled, number) {
                    Some(place) if place.borrowed == 0 => {
                        std::mem::replace(&mut place.pointer, made)
                    }
                    _ => made,
                });
                extism_compiled_plugin_free(left);
            }
            Op::FromCompiled(number, from) => {
                let borrow = |by: isize| {
                    world(|world| match place(&mut world.compiled, from) {
                        Some(place) => {
                            place.borrowed = place.borrowed.wrapping_add_signed(by);
                            place.pointer
                        }
                        None => null_mut(),
                    })
                };
                put(number, || {
                    let compiled = borrow(1);
                    let mut error = null_mut();
                    let made = extism_plugin_new_from_compiled(compiled, &mut error);
                    borrow(-1);
                    assert_ne!(made.is_null(), error.is_null());
                    extism_plugin_new_error_free(error);
                    made
                });
            }
            Op::FreeCompiled(number) => {
                let left = world(|world| match place(&mut world.compiled, number) {
                    Some(place) if place.borrowed == 0 => {
                        std::mem::replace(&mut place.pointer, null_mut())
                    }
                    _ => null_mut(),
                });
                extism_compiled_plugin_free(left);
            }
            Op::Call {
                plugin,
                name,
                input,
                context,
            } => call(plugin, name, &input, context),
            Op::Look(number) => look(plugin(number)),
            Op::Config(number, json) => {
                let json = CONFIGS[usize::from(json) % CONFIGS.len()];
                is_bool(extism_plugin_config(
                    plugin(number),
                    json.as_ptr(),
                    json.len() as u64,
                ));
            }
            Op::Exists(number, n) => {
                is_bool(extism_plugin_function_exists(plugin(number), name(n)));
            }
            Op::Reset(number) => is_bool(extism_plugin_reset(plugin(number))),
            Op::AllowHeaders(number) => extism_plugin_allow_http_response_headers(plugin(number)),
            Op::Free(number) => put(number, null_mut),
            Op::Cancel(number) => {
                let handle = extism_plugin_cancel_handle(plugin(number));
                world(|world| world.handles.push(handle));
                is_bool(extism_plugin_cancel(handle));
            }
            Op::CancelNumber(number) => {
                let known = world(|world| {
                    let index = (number as usize).checked_rem(world.handles.len());
                    index.map(|index| world.handles[index])
                });
                let handle = known.filter(|_| number % 4 != 0);
                is_bool(extism_plugin_cancel(
                    handle.unwrap_or(std::ptr::without_provenance(number as usize)),
                ));
            }
            Op::Drain => extism_log_drain(Some(drain)),
            Op::Return => {}
            op => {
                if let Some(inside) = inside {
                    inside.perform(op);
                }
            }
        }
    }
}

fn is_bool(answer: CBoolResult) {
    assert!(answer <= 1);
}

/// Puts a plugin in a place, and frees the one that was there.
fn put(number: u8, make: impl FnOnce() -> *mut ExtismPlugin) {
    world(|world| world.depth += 1);
    let made = make();
    let old = world(|world| {
        world.depth -= 1;
        match place(&mut world.plugins, number) {
            Some(place) => std::mem::replace(&mut place.pointer, made),
            None => made,
        }
    });
    // SAFETY: nobody has it any more. A host function that it is calling may free it.
    unsafe { extism_plugin_free(old) };
}

fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: there is no other thread yet.
        unsafe {
            std::env::set_var("EXTISM_CACHE_CONFIG", "");
            extism_log_custom(CString::from(c"trace").as_ptr());
        }
    });
}

fuzz_target!(|ops: Vec<Op>| {
    begin();
    let mut ops = ops;
    ops.reverse();
    world(|world| world.ops = ops);
    while let Some(op) = world(|world| world.ops.pop()) {
        perform(op, None);
    }
    for number in 0..4 {
        perform(Op::FreeCompiled(number), None);
        perform(Op::FreeFunction(number), None);
        perform(Op::Free(number), None);
    }
    perform(Op::Drain, None);
    world(|world| world.handles.clear());
    assert_eq!(
        ALIVE.get(),
        0,
        "data of host functions is freed once, with its last plugin"
    );
});
