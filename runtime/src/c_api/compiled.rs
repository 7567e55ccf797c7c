//! Making plugins, and compiled ones.

use std::{
    ffi::{CString, c_char},
    ptr, slice,
};

use extism_core::{CompiledPlugin, Error, Function, Plugin, PluginBuilder, WasmInput};

use super::{
    CBool, ExtismSize, borrow, boundary, bytes, c_text, function::ExtismFunction, list,
    plugin::ExtismPlugin, take,
};

/// A plugin that was loaded, compiled and linked: any number of plugins can be made from it, in any thread.
pub struct ExtismCompiledPlugin(CompiledPlugin);

/// What creation gets from C.
struct Request {
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
    fuel_limit: Option<u64>,
}

/// The root cause, as what it is a cause of.
fn unable_to(what: &str, error: &Error) -> Error {
    Error::msg(format!(
        "Unable to {what} Extism plugin: {}",
        error.root_cause()
    ))
}

impl Request {
    /// # Safety
    ///
    /// `wasm` is NULL or has `wasm_size` bytes; `functions` is NULL or has `n_functions` pointers, each NULL or to a function
    /// that wasn't freed.
    unsafe fn compile(self) -> Result<CompiledPlugin, Error> {
        // SAFETY: by this function's contract.
        let functions = unsafe { self.functions() }?;
        // SAFETY: the same.
        let wasm = unsafe { bytes(self.wasm, self.wasm_size) };
        let compiled = wasm.and_then(|wasm| {
            let mut builder = PluginBuilder::new(WasmInput::Data(wasm.into()))
                .with_read_memory(read_memory)
                .with_functions(functions)
                .with_wasi(self.with_wasi != 0);
            if let Some(fuel) = self.fuel_limit {
                builder = builder.with_fuel_limit(fuel);
            }
            builder.compile()
        });
        compiled.map_err(|error| unable_to("compile", &error))
    }

    /// All of them are used up, also if one of them can't be used.
    ///
    /// # Safety
    ///
    /// As for [`compile`](Self::compile).
    unsafe fn functions(&self) -> Result<Vec<Function>, Error> {
        // SAFETY: by this function's contract.
        let functions = unsafe { list(self.functions, self.n_functions) }?;
        let taken: Vec<_> = functions
            .iter()
            .map(|function| {
                // SAFETY: the same.
                let function = unsafe { borrow(*function) };
                function
                    .ok_or_else(|| Error::msg("Cannot pass null pointer"))?
                    .take()
            })
            .collect();
        taken.into_iter().collect()
    }
}

/// Bytes of this process that a manifest names by their address, as the SDK for C++ does.
fn read_memory(address: usize, len: usize) -> Vec<u8> {
    let start = ptr::with_exposed_provenance(address);
    // SAFETY: who gives this library a manifest vouches for the addresses in it, says the header. Neither is the address 0 nor
    // the length more than can be: that was checked.
    unsafe { slice::from_raw_parts(start, len) }.to_vec()
}

/// Gives a result to C: the thing as a pointer, or NULL and the error's text in `*errmsg`, unless that is NULL.
///
/// # Safety
///
/// `errmsg` is NULL or can be written to.
unsafe fn give<T>(errmsg: *mut *mut c_char, make: impl FnOnce() -> Result<T, Error>) -> *mut T {
    let panicked = || Error::msg("the runtime panicked");
    match boundary(Err(panicked()), make) {
        Ok(thing) => Box::into_raw(Box::new(thing)),
        Err(error) => {
            if !errmsg.is_null() {
                // SAFETY: by this function's contract.
                unsafe { *errmsg = c_text(&error.to_string()).into_raw() };
            }
            ptr::null_mut()
        }
    }
}

/// Makes a plugin of WebAssembly, binary or text, or of a manifest in JSON or TOML. In JSON, `data` may be an object with
/// `ptr` and `len`: bytes of this process, whose caller vouches for them.
///
/// `functions` are used up, also if it fails, and still to be freed. With `with_wasi` the plugin gets WASI preview 1. To be
/// freed by `extism_plugin_free`. Returns NULL on failure, and a text in `*errmsg`, unless that is NULL; to be freed by
/// `extism_plugin_new_error_free`.
///
/// # Safety
///
/// `wasm` is NULL or has `wasm_size` bytes; `functions` is NULL or has `n_functions` pointers, each NULL or from
/// `extism_function_new` and not freed; `errmsg` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
    errmsg: *mut *mut c_char,
) -> *mut ExtismPlugin {
    let request = Request {
        wasm,
        wasm_size,
        functions,
        n_functions,
        with_wasi,
        fuel_limit: None,
    };
    // SAFETY: by this function's contract.
    unsafe {
        give(errmsg, || {
            let plugin = Plugin::new_from_compiled(&request.compile()?);
            plugin
                .map(ExtismPlugin::new)
                .map_err(|error| unable_to("compile", &error))
        })
    }
}

/// The same, with a limit to the fuel that each call may burn: about one unit for an instruction.
///
/// # Safety
///
/// As for `extism_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new_with_fuel_limit(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
    fuel_limit: u64,
    errmsg: *mut *mut c_char,
) -> *mut ExtismPlugin {
    let request = Request {
        wasm,
        wasm_size,
        functions,
        n_functions,
        with_wasi,
        fuel_limit: Some(fuel_limit),
    };
    // SAFETY: by this function's contract.
    unsafe { give(errmsg, || create(&request.compile()?)) }
}

fn create(compiled: &CompiledPlugin) -> Result<ExtismPlugin, Error> {
    let plugin = Plugin::new_from_compiled(compiled);
    plugin
        .map(ExtismPlugin::new)
        .map_err(|error| unable_to("create", &error))
}

/// Loads, compiles and links a plugin, without making one. To be freed by `extism_compiled_plugin_free`. For the rest see
/// `extism_plugin_new`.
///
/// # Safety
///
/// As for `extism_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_compiled_plugin_new(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
    errmsg: *mut *mut c_char,
) -> *mut ExtismCompiledPlugin {
    let request = Request {
        wasm,
        wasm_size,
        functions,
        n_functions,
        with_wasi,
        fuel_limit: None,
    };
    // SAFETY: by this function's contract.
    unsafe { give(errmsg, || request.compile().map(ExtismCompiledPlugin)) }
}

/// The same, with a limit to the fuel that each call of its plugins may burn.
///
/// # Safety
///
/// As for `extism_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_compiled_plugin_new_with_fuel_limit(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
    fuel_limit: u64,
    errmsg: *mut *mut c_char,
) -> *mut ExtismCompiledPlugin {
    let request = Request {
        wasm,
        wasm_size,
        functions,
        n_functions,
        with_wasi,
        fuel_limit: Some(fuel_limit),
    };
    // SAFETY: by this function's contract.
    unsafe { give(errmsg, || request.compile().map(ExtismCompiledPlugin)) }
}

/// Makes a plugin of a compiled one, which it outlives. It has its own configuration, variables and id. To be freed by
/// `extism_plugin_free`. Returns NULL on failure, as `extism_plugin_new`, and if `compiled` is NULL.
///
/// # Safety
///
/// `compiled` is NULL or from `extism_compiled_plugin_new` and not freed; `errmsg` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new_from_compiled(
    compiled: *const ExtismCompiledPlugin,
    errmsg: *mut *mut c_char,
) -> *mut ExtismPlugin {
    // SAFETY: by this function's contract.
    unsafe {
        give(errmsg, || {
            let compiled =
                borrow(compiled).ok_or_else(|| Error::msg("Cannot pass null pointer"))?;
            create(&compiled.0)
        })
    }
}

/// Frees a compiled plugin; plugins made of it stay. Does nothing for NULL.
///
/// # Safety
///
/// `plugin` is NULL or from `extism_compiled_plugin_new`, not freed, and not used from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_compiled_plugin_free(plugin: *mut ExtismCompiledPlugin) {
    boundary((), || {
        // SAFETY: by this function's contract.
        drop(unsafe { take(plugin) });
    });
}

/// Frees a text that creation left in `*errmsg`. Does nothing for NULL.
///
/// # Safety
///
/// `err` is NULL or from there, and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new_error_free(err: *mut c_char) {
    boundary((), || {
        if !err.is_null() {
            // SAFETY: by this function's contract.
            drop(unsafe { CString::from_raw(err) });
        }
    });
}
