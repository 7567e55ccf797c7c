//! Plugins: calls, their output and errors, configuration, cancellation.

use std::{
    ffi::{CString, c_char, c_void},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use extism_core::{CallError, HostContext, Plugin, PluginConfig};
use extism_ffi::{
    apart_from,
    cancel::Cancel,
    exclusive::{Entered, Exclusive},
    start_of,
};

pub use extism_ffi::cancel::{ExtismCancelHandle, extism_plugin_cancel};

use super::{
    CBoolResult, ExtismSize, borrow, boundary, bytes, c_text, current_plugin::Context, take, text,
};

/// A plugin. Any thread may use it; calls of the same plugin wait for each other.
pub struct ExtismPlugin {
    id: [u8; 16],
    session: Exclusive<Session>,
    /// What host functions can get at while the session is theirs.
    config: PluginConfig,
    exists: Box<dyn Fn(&str) -> bool + Send + Sync>,
    cancel: Cancel,
    /// A host function has freed the plugin that called it: that is done when the call is over.
    is_freed: AtomicBool,
}

struct Session {
    plugin: Plugin,
    error: Option<ErrorText>,
}

struct ErrorText {
    text: CString,
    /// Those of the host are gone sooner.
    is_of_plugin: bool,
}

impl ExtismPlugin {
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self {
            id: plugin.id.into_bytes(),
            config: plugin.config(),
            exists: Box::new(plugin.function_checker()),
            cancel: Cancel::new(plugin.cancel_handle()),
            is_freed: AtomicBool::new(false),
            session: Exclusive::new(Session {
                plugin,
                error: None,
            }),
        }
    }

    /// An error of the host is gone with the next thing that is asked of the plugin; not while a call runs, which has none.
    fn forget_host_error(&self) {
        if let Some(mut session) = self.session.try_enter() {
            session.error.take_if(|error| !error.is_of_plugin);
        }
    }
}

impl Session {
    fn fail(&mut self, text: &str, code: i32) -> i32 {
        self.error = Some(ErrorText {
            text: c_text(text),
            is_of_plugin: false,
        });
        code
    }

    fn call(&mut self, name: &str, input: &[u8], context: Option<HostContext>) -> i32 {
        let result = self.plugin.call_raw(name, input, context);
        match result {
            Ok(code) => code,
            Err(failure) => {
                let is_of_plugin =
                    matches!(failure.error.downcast_ref(), Some(CallError::Plugin(_)));
                self.fail(&failure.text(), failure.code);
                if let Some(error) = &mut self.error {
                    error.is_of_plugin = is_of_plugin;
                }
                failure.code
            }
        }
    }
}

/// Frees a plugin. Does nothing for NULL. A host function may free the plugin that calls it, which is done when the call is
/// over.
///
/// # Safety
///
/// `plugin` is NULL or from this library, not freed, and not used from now on; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_free(plugin: *mut ExtismPlugin) {
    boundary((), || {
        // SAFETY: by this function's contract.
        let borrowed = unsafe { borrow(plugin) };
        match borrowed {
            Some(busy) if busy.session.is_mine() => busy.is_freed.store(true, Ordering::Relaxed),
            // SAFETY: by this function's contract; the borrow is over.
            _ => drop(unsafe { take(plugin) }),
        }
    });
}

/// The plugin's id: 16 bytes, a UUID of version 4, valid as long as the plugin. NULL for NULL.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_id(plugin: *mut ExtismPlugin) -> *const u8 {
    // SAFETY: by this function's contract.
    let plugin = unsafe { borrow(plugin) };
    plugin.map_or(ptr::null(), |plugin| plugin.id.as_ptr())
}

/// Changes the plugin's configuration: an object in JSON, whose strings are added or replace others, and null removes a key.
/// False, and nothing changed, if it is anything else, or if `plugin` is NULL.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed; `json` is NULL or has `json_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_config(
    plugin: *mut ExtismPlugin,
    json: *const u8,
    json_size: ExtismSize,
) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let (plugin, json) = unsafe { (borrow(plugin), bytes(json, json_size)) };
        let (Some(plugin), Ok(json)) = (plugin, json) else {
            return 0;
        };
        let changed = plugin.config.merge(json).is_ok();
        if changed {
            plugin.forget_host_error();
        }
        changed.into()
    })
}

/// Whether the plugin exports a function of this name that can be called: without parameters, returning nothing or an I32.
/// False if either is NULL.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed; `func_name` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_function_exists(
    plugin: *mut ExtismPlugin,
    func_name: *const c_char,
) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let (plugin, name) = unsafe { (borrow(plugin), text(func_name)) };
        let Some(plugin) = plugin else {
            return 0;
        };
        let exists = name.is_ok_and(|name| (plugin.exists)(name));
        plugin.forget_host_error();
        exists.into()
    })
}

/// Calls a function of the plugin. What it returned; -1, 134 for a trap, or the exit status of WASI if it failed. Then
/// `extism_plugin_error` says why. -1 also if `plugin` is NULL, or if it is a host function that the plugin itself is calling.
/// `data` may be a part of the plugin's last output, or its last error.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed; `func_name` is NULL or ends with a NUL; `data` is NULL or has
/// `data_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_call(
    plugin: *mut ExtismPlugin,
    func_name: *const c_char,
    data: *const u8,
    data_len: ExtismSize,
) -> i32 {
    // SAFETY: by this function's contract.
    unsafe {
        extism_plugin_call_with_host_context(plugin, func_name, data, data_len, ptr::null_mut())
    }
}

/// The same with a pointer for host functions, which they get by `extism_current_plugin_host_context`.
///
/// # Safety
///
/// As for `extism_plugin_call`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_call_with_host_context(
    plugin: *mut ExtismPlugin,
    func_name: *const c_char,
    data: *const u8,
    data_len: ExtismSize,
    host_context: *mut c_void,
) -> i32 {
    boundary(-1, || {
        // SAFETY: by this function's contract.
        let (borrowed, name, input) =
            unsafe { (borrow(plugin), text(func_name), bytes(data, data_len)) };
        let Some(borrowed) = borrowed else {
            return -1;
        };
        let Some(mut session) = borrowed.session.enter() else {
            tracing::error!(target: "extism::plugin", "{}", CallError::Reentrant);
            return -1;
        };
        // The last text may be this call's input, so it stays until the end.
        let last_error = session.error.take();
        let context =
            (!host_context.is_null()).then(|| Box::new(Context(host_context)) as HostContext);
        let code = match (name, input) {
            (Ok(name), Ok(input)) => {
                let input = apart_from(session.plugin.output(), input);
                let code = boundary(None, || Some(session.call(name, &input, context)));
                code.unwrap_or_else(|| session.fail("the runtime panicked", -1))
            }
            (Err(error), _) | (_, Err(error)) => session.fail(&error.to_string(), -1),
        };
        drop(last_error);
        drop(session);
        if borrowed.is_freed.load(Ordering::Relaxed) {
            // SAFETY: a host function of this call said that nobody uses the plugin from now on.
            drop(unsafe { take(plugin) });
        }
        code
    })
}

/// Why the last call failed; NULL if it didn't, if `plugin` is NULL, and in a host function that the plugin is calling. Valid
/// until the next function that is given this plugin.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_error(plugin: *mut ExtismPlugin) -> *const c_char {
    boundary(ptr::null(), || {
        // SAFETY: by this function's contract.
        let session = unsafe { borrow(plugin) }.and_then(|plugin| plugin.session.enter());
        let error = session.as_ref().and_then(|session| session.error.as_ref());
        error.map_or(ptr::null(), |error| error.text.as_ptr())
    })
}

/// The same as `extism_plugin_error`, under its older name.
///
/// # Safety
///
/// As for `extism_plugin_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_error(plugin: *mut ExtismPlugin) -> *const c_char {
    // SAFETY: by this function's contract.
    unsafe { extism_plugin_error(plugin) }
}

/// How many bytes the output of the last call has. 0 if `plugin` is NULL, and in a host function that the plugin is calling.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_output_length(plugin: *mut ExtismPlugin) -> ExtismSize {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let session = unsafe { borrow(plugin) }.and_then(|plugin| plugin.session.enter());
        session.map_or(0, |session| session.plugin.output().len() as ExtismSize)
    })
}

/// The output of the last call: valid until the next call or reset. NULL only if `plugin` is NULL, and in a host function that
/// the plugin is calling.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_output_data(plugin: *mut ExtismPlugin) -> *const u8 {
    boundary(ptr::null(), || {
        // SAFETY: by this function's contract.
        let session = unsafe { borrow(plugin) }.and_then(|plugin| plugin.session.enter());
        let output = |session: Entered<'_, Session>| start_of(session.plugin.output());
        session.map_or(ptr::null(), output)
    })
}

/// Gives back all memory that the last call has used, its output and error included. False if `plugin` is NULL, and in a host
/// function that the plugin is calling.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_reset(plugin: *mut ExtismPlugin) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let session = unsafe { borrow(plugin) }.and_then(|plugin| plugin.session.enter());
        let Some(mut session) = session else {
            return 0;
        };
        session.error = None;
        session.plugin.reset().is_ok().into()
    })
}

/// Lets the plugin see the headers of HTTP responses. Does nothing for NULL, and in a host function that the plugin is calling.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_allow_http_response_headers(plugin: *mut ExtismPlugin) {
    boundary((), || {
        // SAFETY: by this function's contract.
        let session = unsafe { borrow(plugin) }.and_then(|plugin| plugin.session.enter());
        if let Some(mut session) = session {
            session.plugin.allow_http_response_headers(true);
        }
    });
}

/// What cancels this plugin's calls, from any thread. It needn't be freed, and does nothing any more when the plugin is freed.
/// NULL for NULL.
///
/// # Safety
///
/// `plugin` is NULL or from this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_cancel_handle(
    plugin: *const ExtismPlugin,
) -> *const ExtismCancelHandle {
    boundary(ptr::null(), || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { borrow(plugin) };
        plugin.map_or(ptr::null(), |plugin| plugin.cancel.pointer())
    })
}
