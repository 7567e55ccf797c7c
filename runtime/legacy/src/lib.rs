//! The C API from before 1.0, as `include/extism.h` declares it: plugins live in contexts, which know them by their index. That
//! header is made of these files and of those of [`extism_ffi`], with their comments.
//!
//! It has the names of the present API with other signatures, so it is a library of its own.

use std::ffi::c_char;

pub use extism_ffi::{
    CBool, CBoolResult, ExtismSize,
    cancel::{ExtismCancelHandle, extism_plugin_cancel},
    current_plugin::*,
    function::*,
    log::extism_log_file,
};

mod context;
mod manifest;
mod plugin;

pub use context::*;
pub use plugin::*;

/// The release of Extism whose API this library speaks, as `0.5.0`. The text is there for ever.
#[unsafe(no_mangle)]
pub extern "C" fn extism_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
