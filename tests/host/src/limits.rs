use wasmtime::ResourceLimiter;

const PAGE: usize = 65536;

/// Far more than compilers make, and far less than would hurt: a table entry takes 8 bytes of the host.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;

/// What a plugin may take of the host's memory.
pub(crate) struct Limits {
    /// For each memory of its own, in pages of 64 KiB: the kernel's is one, the plugin's another.
    pub(crate) memory_max_pages: Option<u32>,
}

/// Refusing with `false` lets `memory.grow` answer -1, which the kernel's `alloc` turns into the handle 0;
/// an `Err` would make it a trap.
impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self
            .memory_max_pages
            .is_none_or(|pages| desired / PAGE <= pages as usize))
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
