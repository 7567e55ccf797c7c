//! Log lines. One logger for the process: the first that is asked for decides.

use std::{ffi::c_char, path::Path};

use crate::{CBoolResult, boundary, text};

/// Errors alone, if a level is NULL.
///
/// # Safety
///
/// `level` is NULL or ends with a NUL.
pub unsafe fn level<'a>(level: *const c_char) -> Option<&'a str> {
    if level.is_null() {
        return Some("error");
    }
    // SAFETY: by this function's contract.
    unsafe { text(level) }.ok()
}

/// Sends log lines to a file, which is appended to; to stderr if it is NULL, `-` or `stderr`, to stdout if `stdout`.
///
/// `log_level` is `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter as `extism=info,wasmtime=trace`; NULL is `error`.
/// False if the file can't be opened, or something gets this process' log lines already.
///
/// # Safety
///
/// `filename` and `log_level` are NULL or end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_log_file(
    filename: *const c_char,
    log_level: *const c_char,
) -> CBoolResult {
    boundary(0, || {
        let file = match filename.is_null() {
            true => Some("stderr"),
            // SAFETY: by this function's contract.
            false => unsafe { text(filename) }.ok(),
        };
        // SAFETY: by this function's contract.
        let level = unsafe { level(log_level) };
        let (Some(file), Some(level)) = (file, level) else {
            return 0;
        };
        extism_core::log_to_file(Path::new(file), level)
            .is_ok()
            .into()
    })
}
