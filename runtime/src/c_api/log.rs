//! Log lines. One logger for the process: the first of `extism_log_file` and `extism_log_custom` decides.

use std::{
    ffi::{CString, c_char},
    path::Path,
};

use super::{CBoolResult, ExtismSize, boundary, text};

/// Takes one log line: `size` bytes, with the line's end, and a NUL behind them.
pub type ExtismLogDrainFunctionType =
    Option<unsafe extern "C" fn(data: *const c_char, size: ExtismSize)>;

/// Errors alone, if a level is NULL.
///
/// # Safety
///
/// `level` is NULL or ends with a NUL.
unsafe fn level<'a>(level: *const c_char) -> Option<&'a str> {
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

/// Keeps log lines, the last 100,000 and of these the last 64 MiB, until `extism_log_drain` takes them. For `log_level` see
/// `extism_log_file`. False if something gets this process' log lines already.
///
/// # Safety
///
/// `log_level` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_log_custom(log_level: *const c_char) -> CBoolResult {
    boundary(0, || {
        // SAFETY: by this function's contract.
        let level = unsafe { level(log_level) };
        let kept = level.is_some_and(|level| extism_core::buffer_log(level).is_ok());
        kept.into()
    })
}

/// Gives the lines that were kept to `handler`, one by one, in this thread. It may call any function of this library. Lines
/// with a NUL in them are left out. Does nothing if `handler` is NULL.
///
/// # Safety
///
/// `handler` is NULL or a function of its type.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_log_drain(handler: ExtismLogDrainFunctionType) {
    boundary((), || {
        let Some(handler) = handler else {
            return;
        };
        extism_core::drain_log(|line| {
            let size = line.len() as ExtismSize;
            if let Ok(line) = CString::new(line) {
                // SAFETY: by this function's contract; the line lives until the handler is done.
                unsafe { handler(line.as_ptr(), size) }
            }
        });
    });
}
