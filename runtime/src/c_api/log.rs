//! Log lines that are kept for the program, beside [those that go to a file](extism_ffi::log).

use std::ffi::{CString, c_char};

pub use extism_ffi::log::extism_log_file;
use extism_ffi::log::level;

use super::{CBoolResult, ExtismSize, boundary};

/// Takes one log line: `size` bytes, with the line's end, and a NUL behind them.
pub type ExtismLogDrainFunctionType =
    Option<unsafe extern "C" fn(data: *const c_char, size: ExtismSize)>;

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
