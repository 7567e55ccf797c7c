//! The kernel's logic, over any [`Machine`].
//!
//! # The memory, in bytes
//!
//! ```text
//! 0     248                     frontier            floor           peak     end
//! | low | block | block | block | fresh, never used | record | ... | record | -- |
//!       |  data grows up  ->    |                   |  <- records grow down
//!
//! block:   | hint, 8 bytes | data: the length asked for, rounded up to 8 bytes |
//!                          ^ the handle: a multiple of 8, at least 256
//! ```
//!
//! * **The heap is what lies between 248 and the floor.** It is one interval, so a load or store is checked by one subtraction
//!   and one comparison (module `access`). Module `layout` has all constants.
//! * **What is trusted about a block lies in its record** (module `records`), which no store reaches. The hint in
//!   front of the data holds the record's address, and counts only if the record points back.
//! * **The frontier only rises** until `reset` (module `heap`): fresh space is used first, then what is free, then growth.
//! * **Input, output and error** are ranges of the heap, named by registers (module `io`).
//!
//! What holds of the registers between calls is written once, in `tests/proofs/invariant.py`, and this code keeps it. Of all but growth
//! that is proved on the bytes of `extism-runtime.wasm`.
//!
//! Registers are globals of the module, so neither a plugin's stores nor a host's stray writes reach them.
//!
//! # A block's way
//!
//! ```text
//!         alloc               free              64 others wait, or nothing else fits
//! fresh ---------> live block -----> waiting ----------------> merged with its neighbours, filed in a bin
//!                      ^                |  exactly the size                 |
//!                      +----------------+-----------------------------------+  the smallest that fits: cut off its front
//! ```
//!
//! Freed blocks wait untouched (module `waiting`), the last as long as possible: plugins read blocks after their free, and free
//! them twice. Filed regions lie in bins by size (module `bins`), from which the smallest that fits is found in at most 120 steps. Where
//! nothing fits, memory grows, and the records move to its new end (module `growth`).
//!
//! # The gap
//!
//! If somebody else has grown the memory (WAMR puts its own heap behind our first page), the data continues behind
//! their pages, the *gap*. The records in front of it stay where they are, new ones lie at the end of the memory:
//!
//! ```text
//! | low | data ... | records | gap: not ours | data ... | fresh | records | -- |
//!       |         front                      island             floor
//! ```

mod access;
mod bins;
mod growth;
mod heap;
mod io;
pub(crate) mod layout;
mod records;
mod waiting;

use crate::machine::Machine;

/// The kernel over a machine `M`: one method for each export, with the export's types.
///
/// ```
/// use extism_kernel::{Kernel, NativeMachine};
///
/// let mut kernel = Kernel::new(NativeMachine::default());
/// let handle = kernel.alloc(5);
/// kernel.store_u8(handle, b'h'.into());
/// assert_eq!(kernel.length(handle), 5);
/// assert_eq!(kernel.load_u8(handle), b'h'.into());
/// kernel.free(handle);
/// assert_eq!(kernel.length(handle), 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Kernel<M> {
    machine: M,
}

impl<M: Machine> Kernel<M> {
    /// A kernel over a machine whose registers and memory are fresh.
    #[inline(always)]
    pub const fn new(machine: M) -> Self {
        Self { machine }
    }

    /// The machine underneath.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine underneath, to write into its memory as a host does.
    pub const fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }
}
