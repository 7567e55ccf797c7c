//! Contexts: plugins by their index, and the error of what concerns none of them.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CString, c_char},
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use extism_core::{Error, PluginBuilder};
use extism_ffi::{
    CBool, CBoolResult, ExtismSize, borrow, boundary, bytes, c_text, function::ExtismFunction,
    list, take,
};

use crate::{manifest, plugin::Slot};

/// A plugin's index in its context: from 0. -1 is none.
pub type ExtismPlugin = i32;

const NONE: ExtismPlugin = -1;

/// The module from which plugins import host functions, unless they say otherwise.
const NAMESPACE: &str = "env";

/// So many indices have to be free before one is used again.
const MIN_FREE: usize = 25;

/// Keeps plugins, and is where errors are left. Any thread may use it; calls of the same plugin wait for each other.
pub struct ExtismContext(Mutex<Plugins>);

/// What a context holds. Nothing of a plugin runs while this is locked.
#[derive(Default)]
struct Plugins {
    slots: BTreeMap<ExtismPlugin, Arc<Slot>>,
    /// The first index that was never used; `None` if all were.
    next: Option<ExtismPlugin>,
    /// Indices of plugins that were freed, oldest first.
    free: VecDeque<ExtismPlugin>,
    error: Option<CString>,
}

impl Plugins {
    fn add(&mut self, slot: Slot) -> Result<ExtismPlugin, Error> {
        let is_reused = self.free.len() >= MIN_FREE || self.next.is_none();
        let index = match self.free.pop_front_if(|_| is_reused) {
            Some(index) => index,
            None => {
                let next = self
                    .next
                    .ok_or_else(|| Error::msg("All plugins' indices are in use"))?;
                self.next = next.checked_add(1);
                next
            }
        };
        self.slots.insert(index, Arc::new(slot));
        Ok(index)
    }
}

impl ExtismContext {
    fn new() -> Self {
        Self(Mutex::new(Plugins {
            next: Some(0),
            ..Plugins::default()
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Plugins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin of this index, whose last error is forgotten, and the context's too. Without one, that is the context's error.
    pub(crate) fn plugin(&self, index: ExtismPlugin) -> Option<Arc<Slot>> {
        let mut plugins = self.lock();
        let slot = plugins.slots.get(&index).cloned();
        plugins.error = match &slot {
            Some(_) => None,
            None => Some(c_text(&format!("Plugin does not exist: {index}"))),
        };
        drop(plugins);
        slot.inspect(|slot| slot.forget_error())
    }

    /// Leaves an error of no plugin.
    pub(crate) fn fail(&self, error: &Error) {
        let text = error.root_cause().to_string();
        tracing::error!(target: "extism::plugin", "{text}");
        self.lock().error = Some(c_text(&text));
    }
}

/// Makes a plugin of what C gives.
///
/// # Safety
///
/// `wasm` is NULL or has `wasm_size` bytes; `functions` is NULL or has `n_functions` pointers, each NULL or to a function that
/// wasn't freed.
unsafe fn make(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
) -> Result<Slot, Error> {
    // SAFETY: by this function's contract.
    let (wasm, functions) = unsafe { (bytes(wasm, wasm_size)?, list(functions, n_functions)?) };
    let functions = functions.iter().filter_map(|function| {
        // SAFETY: the same.
        let mut function = unsafe { borrow(*function) }?.get()?;
        if function.namespace().is_none() {
            function.set_namespace(NAMESPACE);
        }
        Some(function)
    });
    let builder = PluginBuilder::new(manifest::input(wasm))
        .with_functions(functions)
        .with_wasi(with_wasi != 0)
        .with_environment_from_config(true)
        .with_late_start(true);
    builder.build().map(Slot::new)
}

/// Makes a context. To be freed by `extism_context_free`.
#[unsafe(no_mangle)]
pub extern "C" fn extism_context_new() -> *mut ExtismContext {
    boundary(ptr::null_mut(), || {
        Box::into_raw(Box::new(ExtismContext::new()))
    })
}

/// Frees a context with its plugins; one whose call is running when that is over. Does nothing for NULL.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new`, not freed, and not used from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_context_free(ctx: *mut ExtismContext) {
    boundary((), || {
        // SAFETY: by this function's contract.
        drop(unsafe { take(ctx) });
    });
}

/// Frees all plugins of a context. New ones get other indices. Does nothing for NULL.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_context_reset(ctx: *mut ExtismContext) {
    boundary((), || {
        // SAFETY: by this function's contract.
        if let Some(ctx) = unsafe { borrow(ctx) } {
            // Their host functions' data is freed by the embedder, who may use the context for that.
            let slots = std::mem::take(&mut ctx.lock().slots);
            drop(slots);
        }
    });
}

/// Makes a plugin of WebAssembly, binary or text, or of a manifest in JSON or TOML. Its index, or -1 on failure; then
/// `extism_error(ctx, -1)` says why.
///
/// `functions` may be given to any number of plugins; NULL among them is skipped. With `with_wasi` the plugin gets WASI preview
/// 1, with its configuration as the environment.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed; `wasm` is NULL or has `wasm_size` bytes; `functions` is NULL or has
/// `n_functions` pointers, each NULL or from `extism_function_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new(
    ctx: *mut ExtismContext,
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
) -> ExtismPlugin {
    boundary(NONE, || {
        // SAFETY: by this function's contract.
        let (ctx, slot) = unsafe {
            let slot = make(wasm, wasm_size, functions, n_functions, with_wasi);
            (borrow(ctx), slot)
        };
        let Some(ctx) = ctx else {
            return NONE;
        };
        let index = slot.and_then(|slot| ctx.lock().add(slot));
        index.unwrap_or_else(|error| {
            ctx.fail(&error);
            NONE
        })
    })
}

/// Puts a new plugin in the place of the one of this index, which is freed. False, and the old one kept, if the new one can't be
/// made, or there is no old one; then `extism_error(ctx, -1)` says why. For the rest see `extism_plugin_new`.
///
/// # Safety
///
/// As for `extism_plugin_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_update(
    ctx: *mut ExtismContext,
    index: ExtismPlugin,
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: CBool,
) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let (ctx, slot) = unsafe {
            let slot = make(wasm, wasm_size, functions, n_functions, with_wasi);
            (borrow(ctx), slot)
        };
        let Some(ctx) = ctx else {
            return 0;
        };
        let replaced = slot.and_then(|slot| {
            let mut plugins = ctx.lock();
            let place = plugins.slots.get_mut(&index);
            let place = place.ok_or_else(|| Error::msg("Plugin index does not exist"))?;
            Ok(std::mem::replace(place, Arc::new(slot)))
        });
        replaced.inspect_err(|error| ctx.fail(error)).is_ok().into()
    })
}

/// Frees a plugin; one whose call is running when that is over. Does nothing if there is none of this index, or `ctx` is NULL.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_free(ctx: *mut ExtismContext, plugin: ExtismPlugin) {
    boundary((), || {
        // SAFETY: by this function's contract.
        if let Some(ctx) = unsafe { borrow(ctx) } {
            let mut plugins = ctx.lock();
            let slot = plugins.slots.remove(&plugin);
            if slot.is_some() {
                plugins.free.push_back(plugin);
            }
            // As in `extism_context_reset`.
            drop(plugins);
            drop(slot);
        }
    });
}

/// Why something failed that concerned this plugin; NULL if it didn't. The context's error if there is no plugin of this index,
/// as -1. Valid until the next function that is given the context.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_error(
    ctx: *mut ExtismContext,
    plugin: ExtismPlugin,
) -> *const c_char {
    boundary(ptr::null(), || {
        // SAFETY: by this function's contract.
        let Some(ctx) = (unsafe { borrow(ctx) }) else {
            return ptr::null();
        };
        let plugins = ctx.lock();
        let Some(slot) = plugins.slots.get(&plugin).cloned() else {
            let error = plugins.error.as_ref();
            return error.map_or(ptr::null(), |error| error.as_ptr());
        };
        // A call of another thread is waited for.
        drop(plugins);
        slot.error()
    })
}
