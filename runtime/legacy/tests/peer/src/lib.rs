//! Exports what the released library does.

pub use extism_runtime::sdk::*;
