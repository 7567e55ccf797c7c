//! What host functions see of the plugin that calls them.

use std::ptr;

use extism_core::{CurrentPlugin, convert::MemoryHandle};
use extism_stack::on_lent;

use crate::{ExtismSize, boundary};

/// The plugin that is calling a host function, for as long as that runs.
pub struct ExtismCurrentPlugin {
    _opaque: (),
}

/// The handle of a block in a plugin's memory: its offset from `extism_current_plugin_memory`. 0 is none.
pub type ExtismMemoryHandle = u64;

impl ExtismCurrentPlugin {
    pub(crate) fn pointer(plugin: &mut CurrentPlugin<'_>) -> *mut Self {
        ptr::from_mut(plugin).cast()
    }

    /// The plugin, to be used for one function of the API. `None` for NULL.
    ///
    /// # Safety
    ///
    /// `plugin` is NULL, or was given to a host function that is still running, in this thread.
    pub unsafe fn borrow<'a>(plugin: *mut Self) -> Option<&'a mut CurrentPlugin<'a>> {
        let plugin = plugin.cast::<CurrentPlugin<'a>>();
        // SAFETY: the pointer is from `pointer`, whose borrow lasts as long as the host function; the embedder uses it for
        // one function of the API at a time.
        unsafe { plugin.as_mut() }
    }
}

/// The first byte of the plugin's memory that handles count from; it moves when a block is allocated. NULL for NULL.
///
/// # Safety
///
/// `plugin` is NULL, or was given to the host function that is running in this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory(plugin: *mut ExtismCurrentPlugin) -> *mut u8 {
    boundary(ptr::null_mut(), || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { ExtismCurrentPlugin::borrow(plugin) };
        let base = plugin.and_then(|plugin| plugin.memory_base().ok());
        base.unwrap_or(ptr::null_mut())
    })
}

/// Allocates a block of `n` bytes in the plugin's memory. 0 for 0 bytes, if the memory has no room, or if `plugin` is NULL.
///
/// # Safety
///
/// `plugin` is NULL, or was given to the host function that is running in this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory_alloc(
    plugin: *mut ExtismCurrentPlugin,
    n: ExtismSize,
) -> ExtismMemoryHandle {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { ExtismCurrentPlugin::borrow(plugin) };
        let block = plugin.and_then(|plugin| on_lent(|| plugin.memory_alloc(n)).ok());
        block.map_or(0, |block| block.offset)
    })
}

/// How many bytes the block at a handle has. 0 if it is the handle of none, or if `plugin` is NULL.
///
/// # Safety
///
/// `plugin` is NULL, or was given to the host function that is running in this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory_length(
    plugin: *mut ExtismCurrentPlugin,
    n: ExtismMemoryHandle,
) -> ExtismSize {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { ExtismCurrentPlugin::borrow(plugin) };
        let length = plugin.and_then(|plugin| on_lent(|| plugin.memory_length(n)).ok());
        length.unwrap_or(0)
    })
}

/// Frees the block at a handle. Does nothing if it is the handle of none, or if `plugin` is NULL.
///
/// # Safety
///
/// `plugin` is NULL, or was given to the host function that is running in this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory_free(
    plugin: *mut ExtismCurrentPlugin,
    ptr: ExtismMemoryHandle,
) {
    boundary((), || {
        // SAFETY: by this function's contract.
        let plugin = unsafe { ExtismCurrentPlugin::borrow(plugin) };
        if let Some(plugin) = plugin {
            // An error is the call's end, of which the plugin will hear soon enough.
            let block = MemoryHandle {
                offset: ptr,
                length: 0,
            };
            let _ = on_lent(|| plugin.memory_free(block));
        }
    });
}
