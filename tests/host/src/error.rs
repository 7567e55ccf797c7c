use std::fmt;

/// What went wrong, as text for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The plugin could not be set up: its bytes are no WebAssembly, it imports something that the host
    /// doesn't provide, it asks for more memory than it may have, or its initialisation failed.
    Load(String),
    /// The plugin exports no plugin function of that name: one without parameters, which returns nothing
    /// or an `i32`.
    NoFunction(String),
    /// A call failed: the plugin's own error text if it set one, else what ended the call.
    Call(String),
}

impl Error {
    /// A failure of one call, for host functions of the embedder. The text becomes the error of the whole
    /// call, unless the plugin set one of its own.
    pub fn call(text: impl Into<String>) -> Self {
        Self::Call(text.into())
    }

    /// For errors of Wasmtime while a plugin is set up.
    pub(crate) fn load(error: wasmtime::Error) -> Self {
        Self::Load(format!("{error:#}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(text) | Self::Call(text) => f.write_str(text),
            Self::NoFunction(name) => {
                write!(f, "the plugin has no function `{name}` that can be called")
            }
        }
    }
}

impl std::error::Error for Error {}

/// What ended a call: only the innermost cause, as all that Wasmtime wraps around it are addresses.
impl From<wasmtime::Error> for Error {
    fn from(error: wasmtime::Error) -> Self {
        Self::Call(error.root_cause().to_string())
    }
}
