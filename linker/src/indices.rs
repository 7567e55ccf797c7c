//! Where everything is in the joined module. The plugin's types, globals, memories and tables come first, so they keep their
//! indices; the kernel's follow. Only functions move, since imports come before all that is defined:
//!
//! ```text
//! imports that remain | functions of the plugin | functions of the kernel | glue
//! ```

use std::convert::Infallible;
use wasm_encoder::reencode::{Error, Reencode};

/// What an import of the plugin became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    /// It is still imported, and this is its index.
    Host(u32),
    /// It is this function of the kernel, as the kernel counts.
    Kernel(u32),
}

/// Where the plugin's functions are, and where the kernel's begin.
#[derive(Default)]
pub(crate) struct PluginIndices {
    /// The plugin's function imports.
    pub imports: Vec<Imported>,
    /// How many of these remain.
    pub remaining: u32,
    /// How many functions the plugin defines.
    pub defined: u32,
}

impl PluginIndices {
    /// The kernel's function that a function of the plugin has become, as the kernel counts.
    pub fn kernel_function(&self, function: u32) -> Option<u32> {
        match self.imports.get(function as usize) {
            Some(&Imported::Kernel(index)) => Some(index),
            _ => None,
        }
    }

    /// Where the kernel's functions begin.
    pub fn kernel_start(&self) -> u32 {
        self.remaining + self.defined
    }

    /// Where a function of the plugin is.
    pub fn function(&self, function: u32) -> u32 {
        match self.imports.get(function as usize) {
            Some(&Imported::Host(index)) => index,
            Some(&Imported::Kernel(index)) => self.kernel_start() + index,
            None => function - self.imports.len() as u32 + self.remaining,
        }
    }
}

impl Reencode for &PluginIndices {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(self.function(function))
    }
}

/// Where what the kernel has begins.
#[derive(Clone, Copy, Default)]
pub(crate) struct KernelIndices {
    /// Its first type.
    pub types: u32,
    /// Its first function.
    pub functions: u32,
    /// Its first global.
    pub globals: u32,
    /// Its memory.
    pub memory: u32,
}

impl Reencode for KernelIndices {
    type Error = Infallible;

    fn type_index(&mut self, ty: u32) -> Result<u32, Error> {
        Ok(self.types + ty)
    }
    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(self.functions + function)
    }
    fn global_index(&mut self, global: u32) -> Result<u32, Error> {
        Ok(self.globals + global)
    }
    fn memory_index(&mut self, memory: u32) -> Result<u32, Error> {
        Ok(self.memory + memory)
    }
}
