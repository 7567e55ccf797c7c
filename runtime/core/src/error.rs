//! What can go wrong, as something that a program can match.

use std::fmt;

/// Any error of this crate: a chain of causes, like those of everybody who uses `anyhow`.
///
/// Where the reason is one of [`CallError`], that is the last cause of the chain: `error.downcast_ref::<CallError>()`
/// finds it, whatever was put around it.
pub use anyhow::Error;

/// Why a call failed, where that isn't a trap or the error of a host function.
///
/// ```
/// use extism::{CallError, Manifest, Plugin, Wasm};
///
/// let endless = r#"(module (func (export "spin") (loop (br 0))))"#;
/// let manifest = Manifest::new([Wasm::data(endless)]).with_timeout(std::time::Duration::from_millis(10));
/// let mut plugin = Plugin::new(manifest, [], false)?;
/// let error = plugin.call::<_, ()>("spin", "").unwrap_err();
/// assert_eq!(error.downcast_ref(), Some(&CallError::Timeout));
/// # Ok::<(), extism::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The call took longer than the manifest's `timeout_ms`, or was cancelled.
    Timeout,
    /// The plugin asked for more memory, or table elements, than `memory.max_pages` allows.
    OutOfMemory,
    /// The kernel's memory has no room for the input.
    NoRoomForInput,
    /// The call needed more fuel than it was given.
    OutOfFuel,
    /// The plugin left by WASI's `proc_exit` with this status, from 1 to 125.
    Exit(i32),
    /// The plugin set this text as its error.
    Plugin(String),
    /// The function returned this, and that isn't 0.
    ReturnCode(i32),
    /// The plugin exports no function of this name.
    NoFunction(String),
    /// The function of this name can't be called from outside; the text says why.
    NotCallable(String),
    /// An HTTP request to this URL was refused: its host is none of `allowed_hosts`.
    NotAllowed(String),
    /// A plugin was called by one of its own host functions.
    Reentrant,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::OutOfMemory => f.write_str("oom"),
            Self::NoRoomForInput => f.write_str("failed to allocate extism memory"),
            Self::OutOfFuel => f.write_str("plugin ran out of fuel"),
            Self::Exit(status) => write!(f, "Exited with i32 exit status {status}"),
            Self::Plugin(text) | Self::NotCallable(text) => f.write_str(text),
            Self::ReturnCode(code) => write!(f, "Returned non-zero exit code: {code}"),
            Self::NoFunction(name) => write!(f, "Function not found: {name}"),
            Self::NotAllowed(url) => write!(f, "HTTP request to {url} is not allowed"),
            Self::Reentrant => f.write_str("cannot make reentrant calls into plugin"),
        }
    }
}

impl std::error::Error for CallError {}

/// A failed call, as the C API tells it: with a return code beside the error.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// 134 if a trap ended the call, WASI's exit status, what the function returned, or -1.
    pub code: i32,
}

/// What a trap's backtrace begins with.
const BACKTRACE: &str = "error while executing at wasm backtrace:";

/// What stands around the backtrace where a core dump was asked for: a list of all that is in it, for nobody to read.
const COREDUMP: &str = "wasm coredump generated while executing ";

impl Failure {
    pub(crate) fn new(error: impl Into<Error>, code: i32) -> Self {
        Self {
            error: error.into(),
            code,
        }
    }

    /// The whole story in one text: a trap's backtrace and, below it, its cause; of everything else the outermost error.
    pub fn text(&self) -> String {
        let mut texts = self.error.chain().map(ToString::to_string);
        let text = texts.find(|text| !text.starts_with(COREDUMP));
        let text = text.unwrap_or_default();
        if !text.starts_with(BACKTRACE) {
            return text;
        }
        format!(
            "{}\n\nCaused by:\n    {}",
            text.trim_end(),
            self.error.root_cause()
        )
    }
}
