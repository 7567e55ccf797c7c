//! What host functions see of the call, beside [the plugin](extism_ffi::current_plugin).

use std::{ffi::c_void, ptr};

pub use extism_ffi::current_plugin::*;

use super::boundary;

/// What the C API passes as a host context.
pub(crate) struct Context(pub(crate) *mut c_void);

// SAFETY: this library only passes the pointer on, on the thread that makes the call.
unsafe impl Send for Context {}
// SAFETY: the same.
unsafe impl Sync for Context {}

/// What `extism_plugin_call_with_host_context` was given for this call. NULL if nothing, or if `plugin` is NULL.
///
/// # Safety
///
/// `plugin` is NULL, or was given to the host function that is running in this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_host_context(
    plugin: *mut ExtismCurrentPlugin,
) -> *mut c_void {
    boundary(ptr::null_mut(), || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { ExtismCurrentPlugin::borrow(plugin) };
        let context = plugin.and_then(|plugin| plugin.host_context::<Context>().ok());
        context.map_or(ptr::null_mut(), |context| context.0)
    })
}
