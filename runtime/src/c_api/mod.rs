//! The C API, as `include/extism.h` declares it. That header is made of these files and of those of [`extism_ffi`], with their
//! comments.

use std::ffi::c_char;

pub use extism_ffi::{CBool, CBoolResult, ExtismSize, function};
pub(crate) use extism_ffi::{borrow, boundary, bytes, c_text, list, take, text};

pub mod compiled;
pub mod current_plugin;
pub mod log;
pub mod plugin;

/// Everything worked.
pub const EXTISM_SUCCESS: i32 = 0;

/// The release of Extism whose API this library speaks, as `1.41.0`. The text is there for ever.
#[unsafe(no_mangle)]
pub extern "C" fn extism_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
