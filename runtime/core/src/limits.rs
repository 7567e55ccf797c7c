//! What a plugin may take of the host's memory.

use wasmtime::ResourceLimiter;

use crate::CallError;

pub(crate) const PAGE: usize = 65536;

/// What Wasmtime takes for an element of a table, in bytes.
const ELEMENT: usize = 8;

/// How many elements all tables may have together, where no `max_pages` says how much memory there is. Browsers allow as many.
const MAX_ELEMENTS: usize = 10_000_000;

/// How many elements are free of charge where `max_pages` is given: 1 MiB of them, more than compilers make.
const FREE_ELEMENTS: usize = (1 << 20) / ELEMENT;

/// How many instances a plugin may have. Each call of an export of a linked command makes one.
const MAX_INSTANCES: usize = 10_000;

/// Counts what a plugin's store grants.
///
/// `max_pages` limits the memories that the plugin's main module starts with. Once they are there, it limits what all
/// memories of the plugin together grow by, the kernel's included, and what tables take beyond a megabyte.
///
/// What was granted never comes back, even if the operating system hasn't got it then: Wasmtime tells of a growth that failed
/// also where it never asked.
#[derive(Default)]
pub(crate) struct Limits {
    max_bytes: Option<usize>,
    /// How much is left of `max_bytes`. `None` without a limit.
    left: Option<usize>,
    elements: usize,
}

impl Limits {
    pub(crate) fn new(max_pages: Option<u32>) -> Self {
        Self {
            max_bytes: max_pages.map(|pages| (pages as usize).saturating_mul(PAGE)),
            ..Self::default()
        }
    }

    /// From now on (again) the whole of `max_pages` can be had, and so many bytes.
    pub(crate) fn start(&mut self, more: usize) {
        self.left = self.max_bytes.map(|max| max.saturating_add(more));
    }

    fn take(&mut self, bytes: usize) -> wasmtime::Result<()> {
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(bytes)
                .ok_or_else(|| wasmtime::Error::new(CallError::OutOfMemory))?;
        }
        Ok(())
    }
}

/// An error makes `memory.grow` and `table.grow` trap. What a memory or table refuses by itself is left to it: the plugin
/// gets the -1 that it may be prepared for.
impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.take(desired - current)?;
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(true);
        }
        let before = self.elements;
        let after = before.saturating_add(desired - current);
        if after > MAX_ELEMENTS {
            return Err(wasmtime::Error::new(CallError::OutOfMemory));
        }
        let charged = |elements: usize| elements.saturating_sub(FREE_ELEMENTS) * ELEMENT;
        self.take(charged(after) - charged(before))?;
        self.elements = after;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }
}
