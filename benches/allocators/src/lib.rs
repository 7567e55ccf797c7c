//! What a kernel author would otherwise compile in: an allocator from crates.io behind the kernel's exports, as far as traces of
//! `alloc` and `free` need them. Chosen by a feature: `dlmalloc`, `rlsf` or `talc`.
//!
//! It promises less than the kernel: a handle that isn't a live block's is not noticed but corrupts the heap, lengths lie in
//! front of the data, where a plugin can overwrite them, and the allocators write links into the data of freed blocks.

#![no_std]

use core::{
    alloc::Layout,
    arch::wasm32::{memory_grow, memory_size},
    panic::PanicInfo,
    ptr,
};

const PAGE: usize = 65536;
/// Bytes in front of a block that hold its length.
const HEADER: usize = 8;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

unsafe extern "C" {
    /// Where the linker says that static data and stack end.
    static __heap_base: u8;
}

fn heap_base() -> usize {
    (&raw const __heap_base).addr()
}

/// The memory above the static data. The allocators take it from here, so that `reset` can hand it out anew.
struct Space {
    /// The end of what the allocator has, 0 at first.
    taken: usize,
    /// The end of the highest block.
    used: usize,
}

impl Space {
    /// At least so many bytes, right behind those taken before: what is left of the memory, grown by as few pages as needed.
    fn take(&mut self, bytes: usize) -> Option<(*mut u8, usize)> {
        let start = self.taken.max(heap_base().next_multiple_of(16));
        let missing = (start + bytes).saturating_sub(memory_size(0) * PAGE);
        if missing > 0 && memory_grow(0, missing.div_ceil(PAGE)) == usize::MAX {
            return None;
        }
        self.taken = memory_size(0) * PAGE;
        Some((ptr::with_exposed_provenance_mut(start), self.taken - start))
    }
}

static mut SPACE: Space = Space { taken: 0, used: 0 };

/// The one space.
#[allow(static_mut_refs)]
fn space() -> &'static mut Space {
    // SAFETY: there is one thread, and nobody keeps the reference across a call of this function.
    unsafe { &mut SPACE }
}

#[cfg(feature = "dlmalloc")]
mod heap {
    use super::{Layout, PAGE, ptr, space};

    pub struct Pages;

    // SAFETY: `Space` hands out each byte once, and nothing is ever taken back.
    unsafe impl dlmalloc::Allocator for Pages {
        fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
            match space().take(size) {
                Some((start, bytes)) => (start, bytes, 0),
                None => (ptr::null_mut(), 0, 0),
            }
        }
        fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
            ptr::null_mut()
        }
        fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
            false
        }
        fn free(&self, _: *mut u8, _: usize) -> bool {
            false
        }
        fn can_release_part(&self, _: u32) -> bool {
            false
        }
        fn allocates_zeros(&self) -> bool {
            false
        }
        fn page_size(&self) -> usize {
            PAGE
        }
    }

    pub struct Heap(dlmalloc::Dlmalloc<Pages>);

    impl Heap {
        pub const fn new() -> Self {
            Self(dlmalloc::Dlmalloc::new_with_allocator(Pages))
        }
        pub fn alloc(&mut self, layout: Layout) -> *mut u8 {
            // SAFETY: the layout's alignment is a power of two.
            unsafe { self.0.malloc(layout.size(), layout.align()) }
        }
        /// # Safety
        /// The block must be from `alloc` with the same layout, and not freed yet.
        pub unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's.
            unsafe { self.0.free(block, layout.size(), layout.align()) }
        }
    }
}

#[cfg(feature = "rlsf")]
mod heap {
    use super::{Layout, ptr, space};
    use core::ptr::NonNull;

    struct Pages;

    // SAFETY: `Space` hands out each byte once; what comes later lies right behind what came before.
    unsafe impl rlsf::FlexSource for Pages {
        unsafe fn alloc(&mut self, min_size: usize) -> Option<NonNull<[u8]>> {
            let (start, bytes) = space().take(min_size)?;
            NonNull::new(ptr::slice_from_raw_parts_mut(start, bytes))
        }
        unsafe fn realloc_inplace_grow(
            &mut self,
            block: NonNull<[u8]>,
            min_new_len: usize,
        ) -> Option<usize> {
            let (_, bytes) = space().take(min_new_len - block.len())?;
            Some(block.len() + bytes)
        }
        fn supports_realloc_inplace_grow(&self) -> bool {
            true
        }
        fn is_contiguous_growable(&self) -> bool {
            true
        }
        fn min_align(&self) -> usize {
            rlsf::GRANULARITY
        }
    }

    /// With the sizes that the crate's own global allocator has.
    pub struct Heap(rlsf::FlexTlsf<Pages, usize, usize, 32, 32>);

    impl Heap {
        pub const fn new() -> Self {
            Self(rlsf::FlexTlsf::new(Pages))
        }
        pub fn alloc(&mut self, layout: Layout) -> *mut u8 {
            self.0
                .allocate(layout)
                .map_or(ptr::null_mut(), NonNull::as_ptr)
        }
        /// # Safety
        /// The block must be from `alloc` with the same layout, and not freed yet.
        pub unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
            if let Some(block) = NonNull::new(block) {
                // SAFETY: the caller's.
                unsafe { self.0.deallocate(block, layout.align()) }
            }
        }
    }
}

#[cfg(feature = "talc")]
mod heap {
    use super::{Layout, ptr, space};
    use core::{alloc::GlobalAlloc, ptr::NonNull};
    use talc::base::{CHUNK_UNIT, Talc, binning::Binning};
    use talc::{min_first_heap_size, wasm::WasmBinning};

    /// A dependency of the crate links `alloc`, which demands a global allocator. Nobody calls it.
    struct Nobody;

    // SAFETY: it hands out nothing.
    unsafe impl GlobalAlloc for Nobody {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            ptr::null_mut()
        }
        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }

    #[global_allocator]
    static NOBODY: Nobody = Nobody;

    #[derive(Debug)]
    struct Pages {
        end: Option<NonNull<u8>>,
    }

    // SAFETY: it touches nothing of the allocator but what it is given.
    unsafe impl talc::source::Source for Pages {
        fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
            let spare = 2 * CHUNK_UNIT + min_first_heap_size::<B>();
            let (start, bytes) = space().take(layout.size() + spare).ok_or(())?;
            let end = match talc.source.end {
                // SAFETY: the bytes are nobody's, and lie right behind what the allocator has.
                Some(end) => Some(unsafe { talc.extend(end, start.wrapping_add(bytes)) }),
                // SAFETY: the bytes are nobody's.
                None => unsafe { talc.claim(start, bytes) },
            };
            talc.source.end = end;
            end.map(|_| ()).ok_or(())
        }
    }

    pub struct Heap(Talc<Pages, WasmBinning>);

    impl Heap {
        pub const fn new() -> Self {
            Self(Talc::new(Pages { end: None }))
        }
        pub fn alloc(&mut self, layout: Layout) -> *mut u8 {
            // SAFETY: the layout's size is not 0.
            unsafe { self.0.allocate(layout) }.map_or(ptr::null_mut(), NonNull::as_ptr)
        }
        /// # Safety
        /// The block must be from `alloc` with the same layout, and not freed yet.
        pub unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's.
            unsafe { self.0.deallocate(block, layout) }
        }
    }
}

static mut HEAP: heap::Heap = heap::Heap::new();

fn layout(n: u64) -> Option<Layout> {
    let bytes = usize::try_from(n).ok()?.checked_add(HEADER)?;
    Layout::from_size_align(bytes, 8).ok()
}

/// Reserves `n` bytes; 0 if they can't be had.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(n: u64) -> u64 {
    let Some(layout) = layout(n).filter(|_| n != 0) else {
        return 0;
    };
    #[allow(static_mut_refs)]
    // SAFETY: there is one thread, and the allocator doesn't call this function.
    let block = unsafe { HEAP.alloc(layout) };
    if block.is_null() {
        return 0;
    }
    // SAFETY: the block is aligned for the header and has room for it.
    unsafe { block.cast::<u64>().write(n) };
    let handle = block.addr() + HEADER;
    let space = space();
    space.used = space.used.max(handle + n as usize);
    handle as u64
}

/// Releases a block, which must be a live one's handle, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn free(handle: u64) {
    if let Some(layout) = layout(length(handle)).filter(|_| handle != 0) {
        let block = ptr::with_exposed_provenance_mut(handle as usize - HEADER);
        // SAFETY: none for a plugin that passes anything else than a live handle, and that is the point of the comparison.
        #[allow(static_mut_refs)]
        unsafe {
            HEAP.free(block, layout);
        }
    }
}

/// The length of a live block; 0 for the handle 0.
#[unsafe(no_mangle)]
pub extern "C" fn length(handle: u64) -> u64 {
    if handle == 0 {
        return 0;
    }
    let header = ptr::with_exposed_provenance::<u64>(handle as usize - HEADER);
    // SAFETY: as in `free`.
    unsafe { header.read() }
}

/// Forgets all blocks, and zeroes what they used, as the kernel does.
#[unsafe(no_mangle)]
pub extern "C" fn reset() {
    let space = space();
    let base = heap_base();
    // SAFETY: all from the base to the highest block is memory, and the allocator that had it is replaced without being dropped.
    unsafe {
        ptr::with_exposed_provenance_mut::<u8>(base)
            .write_bytes(0, space.used.saturating_sub(base));
        (&raw mut HEAP).write(heap::Heap::new());
    }
    *space = Space { taken: 0, used: 0 };
}

/// Bytes of the memory.
#[unsafe(no_mangle)]
pub extern "C" fn memory_bytes() -> u64 {
    (memory_size(0) * PAGE) as u64
}
