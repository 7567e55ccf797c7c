//! Makes an Extism plugin and the kernel one WebAssembly module.
//!
//! A plugin moves its data through calls of the kernel's `load_u64`, `store_u64` and `input_load_u64`. Linked as usual, each of them leads from
//! one instance into another; in one module they are calls within an instance, or no calls at all, since the linker puts
//! their bodies in their place. The module imports what the plugin imports, less the kernel's functions.
//!
//! ```
//! use extism_kernel_linker::{Form, Options, link};
//!
//! # let plugin = wat::parse_str(r#"(module
//! #   (import "extism:host/env" "input_length" (func $length (result i64)))
//! #   (func (export "run") (result i32) (i64.eqz (call $length))))"#).unwrap();
//! let linked = link(&plugin, &Options::new(Form::TwoMemories))?;
//! assert_eq!(&linked.wasm[..4], b"\0asm");
//! # Ok::<(), extism_kernel_linker::Error>(())
//! ```
//!
//! # What a host does with the module
//!
//! It exports what the plugin exports, and what the kernel exports under the same names behind [`PREFIX`]: `extism:kernel/alloc`,
//! `extism:kernel/memory` and so on. [`BEGIN`] and [`END`] are what a host needs around a call:
//!
//! 1. `handle = begin(length)`, then copy the input to the kernel's memory at `handle`, if that isn't 0,
//! 2. call the plugin's function,
//! 3. `(output, output length, error, error length) = end()`: ranges of the kernel's memory; there is an error only if its length isn't 0.
//!
//! In [`Form::OneMemory`] the global [`BASE`] says where the kernel's part of the memory begins, in bytes: handles and offsets count
//! from there. It moves when the plugin's memory grows, so it is to be read after each call of the plugin, and in each host function.
//!
//! # Who may link
//!
//! A host believes what a kernel answers. So it should link the plugins that it gets, not take linked modules from others: of a
//! module that came linked, nobody knows whether the kernel in it is one. [`linked`] says what a module claims, no more.

mod code;
mod custom;
mod error;
mod glue;
mod indices;
mod inline;
mod join;
mod kernel;

pub use custom::{Mark, linked};
pub use error::Error;

/// What the names of the kernel's exports begin with in a linked module. A plugin that exports such a name is refused.
pub const PREFIX: &str = "extism:kernel/";
/// The export of type (i64 length) → i64 that makes the kernel as new and reserves the input: the result is its handle, 0 if the length is 0 or can't
/// be had, in which case the input is empty.
pub const BEGIN: &str = "extism:kernel/begin";
/// The export of type () → (i64, i64, i64, i64): offset and length of the output, then those of the error, both 0 if there is none.
pub const END: &str = "extism:kernel/end";
/// The export of the memory in which the handles are.
pub const MEMORY: &str = "extism:kernel/memory";
/// The export, in the one-memory form, of the global (mutable i32) that holds where the kernel's part of the memory begins, in bytes.
pub const BASE: &str = "extism:kernel/base";
/// The export, in the one-memory form, of type () → i32 that gives the same, for hosts whose engine doesn't let them read a global.
pub const BASE_GET: &str = "extism:kernel/base_get";
/// The name of the custom section by which a linked module is recognised.
pub const SECTION: &str = "extism-kernel";

/// The kernel for [`Form::OneMemory`], whose addresses count from a base. It uses bulk memory.
pub const KERNEL_ONE_MEMORY: &[u8] = include_bytes!("../kernel/one-memory.wasm");
/// The same without bulk memory.
pub const KERNEL_ONE_MEMORY_MVP: &[u8] = include_bytes!("../kernel/one-memory-mvp.wasm");

/// How plugin and kernel are one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Each keeps its own memory: for engines with multiple memories. The plugin can't touch the kernel's.
    TwoMemories,
    /// The kernel's memory lies behind the plugin's in the same one: for all other engines. The plugin can write over it, as a host can: the
    /// kernel then may lose handles, but neither traps nor reports ranges that aren't there, and its next reset makes it as new.
    OneMemory,
}

/// What to link, and how.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// How plugin and kernel are one module.
    pub form: Form,
    /// Whether the bodies of the kernel's short functions take the place of their calls, as far as this lets the plugin grow by 15 %, or 4 KiB if that
    /// is more.
    pub inline: bool,
    /// The kernel: one whose addresses count from a base for [`Form::OneMemory`], another for [`Form::TwoMemories`].
    pub kernel: &'a [u8],
}

impl Options<'_> {
    /// The usual ones for a form: with inlining and the kernel of this release, which uses bulk memory.
    pub fn new(form: Form) -> Self {
        let kernel = match form {
            Form::TwoMemories => extism_kernel::KERNEL_BULK,
            Form::OneMemory => KERNEL_ONE_MEMORY,
        };
        Self {
            form,
            inline: true,
            kernel,
        }
    }
}

/// A linked module.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Linked {
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// What the plugin's author, or the host's, may want to know, in sentences.
    pub warnings: Vec<String>,
    /// How many calls of the kernel gave place to its code.
    pub inlined: usize,
    /// Whether the plugin has a start function: that runs while the module is instantiated, when many an engine doesn't give its host
    /// any of the exports yet, so functions of the host that it calls can't get at the kernel.
    pub starts: bool,
}

/// Whether a module imports anything that only the kernel has, as far as that can be told without checking the module. Who doesn't has nothing to gain by
/// being linked but an instance that is made sooner.
pub fn uses_kernel(plugin: &[u8]) -> bool {
    join::uses_kernel(plugin)
}

/// Makes a plugin and the kernel one module. The plugin is validated as it is first, so nothing in it can refer to what is the kernel's.
///
/// Whether an engine accepts the module depends on the features that the plugin uses, on multiple values (for [`END`]), for [`Form::TwoMemories`] on multiple memories, and
/// on what the kernel uses.
pub fn link(plugin: &[u8], options: &Options<'_>) -> Result<Linked, Error> {
    join::join(plugin, options)
}
