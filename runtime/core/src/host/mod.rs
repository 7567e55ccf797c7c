//! What plugins import.

pub(crate) mod env;
pub(crate) mod function;
pub(crate) mod http;
pub(crate) mod wasi;
