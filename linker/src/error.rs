//! Why a plugin can't be linked.

use crate::PREFIX;

/// Why a plugin can't be linked. The text is for people: it names what is in the way, and a way out if there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are a component, not a module.
    #[error("the plugin is a component: only core modules can be linked")]
    Component,
    /// The plugin is not a valid module.
    #[error("the plugin is no valid module: {0}")]
    Invalid(String),
    /// The plugin contains a kernel already.
    #[error("the plugin is linked already, with version {version} of the kernel")]
    AlreadyLinked {
        /// The version of that kernel.
        version: String,
    },
    /// An export has a name that would be taken for the kernel's.
    #[error("the plugin exports {0:?}: names that begin with {PREFIX:?} are the kernel's")]
    ReservedExport(String),
    /// A function of the kernel is imported with another type than it has.
    #[error("the plugin imports {name} as {found}, but the kernel's is {expected}")]
    WrongType {
        /// The name of the function.
        name: String,
        /// The type that the plugin gives it.
        found: String,
        /// The type that it has.
        expected: String,
    },
    /// Something else of the kernel is imported than one of its functions.
    #[error("the plugin imports {0} from the kernel: only functions of the kernel can be linked")]
    NoFunction(String),
    /// The plugin's memory can't be shared with the kernel.
    #[error("the plugin can't have one memory with the kernel: {0}")]
    Memory(String),
    /// The kernel is none that can be linked in this form.
    #[error("the kernel can't be linked: {0}")]
    Kernel(String),
}

impl From<wasmparser::BinaryReaderError> for Error {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<wasm_encoder::reencode::Error> for Error {
    fn from(error: wasm_encoder::reencode::Error) -> Self {
        match error {
            wasm_encoder::reencode::Error::ParseError(error) => error.into(),
            error => Self::Invalid(error.to_string()),
        }
    }
}
