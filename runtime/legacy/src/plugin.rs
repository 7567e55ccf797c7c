//! Plugins: calls, their output and errors, configuration, cancellation.

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::Arc,
};

use extism_core::{CallError, Error, Failure, Plugin, PluginConfig};
use extism_ffi::{
    CBoolResult, ExtismSize, apart_from, borrow, boundary, bytes, c_text,
    cancel::{Cancel, ExtismCancelHandle},
    exclusive::{Entered, Exclusive},
    start_of, text,
};

use crate::context::{ExtismContext, ExtismPlugin};

/// A plugin in its context. Who uses it has a share of it, so it may be freed meanwhile.
pub(crate) struct Slot {
    session: Exclusive<Session>,
    /// What host functions can get at while the session is theirs.
    config: PluginConfig,
    exists: Box<dyn Fn(&str) -> bool + Send + Sync>,
    cancel: Cancel,
}

struct Session {
    plugin: Plugin,
    error: Option<CString>,
}

impl Session {
    fn fail(&mut self, text: &str) {
        self.error = Some(c_text(text));
    }

    fn call(&mut self, name: &str, input: &[u8]) -> i32 {
        let input = apart_from(self.plugin.output(), input);
        match self.plugin.call_raw(name, &input, None) {
            Ok(code) => code,
            Err(failure) => {
                self.fail(&text_of(&failure.error));
                code_of(&failure)
            }
        }
    }
}

/// What a failed call returns. A trap has no code of its own.
fn code_of(failure: &Failure) -> i32 {
    match failure.error.downcast_ref() {
        Some(CallError::Plugin(_) | CallError::Exit(_)) => failure.code,
        _ => -1,
    }
}

/// What the plugin or this library says of it, or all causes of what stopped the plugin.
fn text_of(error: &Error) -> String {
    if let Some(known) = error.downcast_ref::<CallError>()
        && !matches!(known, CallError::NotAllowed(_))
    {
        return known.to_string();
    }
    let causes = error.chain().enumerate();
    let causes = causes.map(|(number, cause)| {
        let cause = cause.to_string();
        let cause = cause.trim_end().replace('\n', "\n       ");
        format!("\n    {number}: {cause}")
    });
    format!("Call failed\n\nCaused by:{}", causes.collect::<String>())
}

impl Slot {
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self {
            config: plugin.config(),
            exists: Box::new(plugin.function_checker()),
            cancel: Cancel::new(plugin.cancel_handle()),
            session: Exclusive::new(Session {
                plugin,
                error: None,
            }),
        }
    }

    /// A running call has no error yet.
    pub(crate) fn forget_error(&self) {
        if let Some(mut session) = self.session.try_enter() {
            session.error = None;
        }
    }

    /// NULL if there is none, or in a host function that the plugin is calling.
    pub(crate) fn error(&self) -> *const c_char {
        let session = self.session.enter();
        let error = session.as_ref().and_then(|session| session.error.as_ref());
        error.map_or(ptr::null(), |error| error.as_ptr())
    }

    /// Leaves an error of this plugin. A running call leaves its own.
    fn fail(&self, error: &Error) {
        if let Some(mut session) = self.session.try_enter() {
            session.fail(&error.to_string());
        }
    }
}

/// The plugin, for a function that is given one.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
unsafe fn find(ctx: *mut ExtismContext, plugin: ExtismPlugin) -> Option<Arc<Slot>> {
    // SAFETY: by this function's contract.
    unsafe { borrow(ctx) }?.plugin(plugin)
}

/// Changes the plugin's configuration: an object in JSON, whose strings are added or replace others, and null removes a key.
/// False, and nothing changed, if it is anything else, or there is no such plugin.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed; `json` is NULL or has `json_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_config(
    ctx: *mut ExtismContext,
    plugin: ExtismPlugin,
    json: *const u8,
    json_size: ExtismSize,
) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let (plugin, json) = unsafe { (find(ctx, plugin), bytes(json, json_size)) };
        let Some(plugin) = plugin else {
            return 0;
        };
        let merged = json.and_then(|json| plugin.config.merge(json));
        merged
            .inspect_err(|error| plugin.fail(error))
            .is_ok()
            .into()
    })
}

/// Whether the plugin exports a function of this name that can be called: without parameters, returning nothing or an I32.
/// False if there is no such plugin.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed; `func_name` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_function_exists(
    ctx: *mut ExtismContext,
    plugin: ExtismPlugin,
    func_name: *const c_char,
) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let (plugin, name) = unsafe { (find(ctx, plugin), text(func_name)) };
        let Some(plugin) = plugin else {
            return 0;
        };
        let exists = name.map(|name| (plugin.exists)(name));
        let exists = exists.inspect_err(|error| plugin.fail(error));
        exists.unwrap_or(false).into()
    })
}

/// Calls a function of the plugin. What it returned, 0 for nothing; the exit status of WASI; -1 if it failed otherwise, or there
/// is no such plugin. Then `extism_error` says why. -1 also in a host function that the plugin itself is calling. `data` may be
/// a part of the plugin's last output.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed; `func_name` is NULL or ends with a NUL; `data` is NULL or has
/// `data_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_call(
    ctx: *mut ExtismContext,
    plugin_id: ExtismPlugin,
    func_name: *const c_char,
    data: *const u8,
    data_len: ExtismSize,
) -> i32 {
    boundary(-1, || {
        // SAFETY: by this function's contract.
        let (plugin, name, input) =
            unsafe { (find(ctx, plugin_id), text(func_name), bytes(data, data_len)) };
        let Some(plugin) = plugin else {
            return -1;
        };
        let Some(mut session) = plugin.session.enter() else {
            // SAFETY: by this function's contract.
            if let Some(ctx) = unsafe { borrow(ctx) } {
                ctx.fail(&CallError::Reentrant.into());
            }
            return -1;
        };
        match (name, input) {
            (Ok(name), Ok(input)) => {
                let code = boundary(None, || Some(session.call(name, input)));
                code.unwrap_or_else(|| {
                    session.fail("the runtime panicked");
                    -1
                })
            }
            (Err(error), _) | (_, Err(error)) => {
                session.fail(&error.to_string());
                -1
            }
        }
    })
}

/// How many bytes the output of the last call has. 0 if there is no such plugin, and in a host function that it is calling.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_output_length(
    ctx: *mut ExtismContext,
    plugin: ExtismPlugin,
) -> ExtismSize {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { find(ctx, plugin) };
        let session = plugin.as_ref().and_then(|plugin| plugin.session.enter());
        session.map_or(0, |session| session.plugin.output().len() as ExtismSize)
    })
}

/// The output of the last call: valid until the next one. NULL only if there is no such plugin, and in a host function that it is
/// calling.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_output_data(
    ctx: *mut ExtismContext,
    plugin: ExtismPlugin,
) -> *const u8 {
    boundary(ptr::null(), || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { find(ctx, plugin) };
        let session = plugin.as_ref().and_then(|plugin| plugin.session.enter());
        let output = |session: Entered<'_, Session>| start_of(session.plugin.output());
        session.map_or(ptr::null(), output)
    })
}

/// What cancels this plugin's calls, from any thread. It needn't be freed, and does nothing any more when the plugin is freed or
/// updated. NULL if there is no such plugin.
///
/// # Safety
///
/// `ctx` is NULL or from `extism_context_new` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_cancel_handle(
    ctx: *mut ExtismContext,
    plugin: ExtismPlugin,
) -> *const ExtismCancelHandle {
    boundary(ptr::null(), || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { find(ctx, plugin) };
        plugin.map_or(ptr::null(), |plugin| plugin.cancel.pointer())
    })
}
