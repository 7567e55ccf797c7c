//! The stacks that calls run on.
//!
//! WebAssembly may take 512 KiB of the stack, and checks at each function that it is within these. A thread that has less than
//! 640 KiB left, as those of musl, is lent another stack for a call: [`with_room`]. Host functions in C run on the thread's own
//! nevertheless, [`on_own`], since Java's virtual machine can't be entered anywhere else. What they ask the plugin for may
//! run WebAssembly, so that runs on the lent stack again, behind what is there already: [`on_lent`].
//!
//! Where a thread has room, or the platform can't change stacks (Windows, where threads have 1 MiB), each of these only calls.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
};

/// What must be left of a stack for a call, in bytes: beside WebAssembly, host functions and the runtime take something.
const NEEDED: usize = 640 << 10;

/// How large a stack is lent.
const LENT: usize = 2 << 20;

/// What must be left of the thread's own stack for a host function; where it is less, that runs on the lent one. C libraries
/// think of 64 KiB as little.
const FOR_HOST_FUNCTION: usize = 64 << 10;

/// More than what lies between the frame that changes stacks and the first one on the other: frames of `stacker` and `psm`.
/// None of them depends on what runs; unoptimised they take less than 512 bytes.
const BETWEEN: usize = 4 << 10;

thread_local! {
    /// The stacks of the innermost call that was lent one.
    static STACKS: Cell<Option<Stacks>> = const { Cell::new(None) };
}

#[derive(Debug, Clone, Copy)]
struct Stacks {
    own: Stack,
    lent: Stack,
    is_on_own: bool,
}

impl Stacks {
    /// Runs a function on that of the two which the thread isn't on, if that is wanted.
    #[cold]
    fn on_the_other_if<R>(
        mut self,
        is_wanted: impl FnOnce(Self) -> bool,
        run: impl FnOnce() -> R,
    ) -> R {
        if !is_wanted(self) {
            return run();
        }
        once(run, |run| {
            let (from, to) = match self.is_on_own {
                true => (&mut self.own, self.lent),
                false => (&mut self.lent, self.own),
            };
            *from = Stack::below_here(from.end);
            self.is_on_own = !self.is_on_own;
            let _restore = Restore::and_set(Some(self));
            change(to, run);
        })
    }
}

/// The part of a stack that nothing lies in: addresses, of which the larger one comes first.
#[derive(Debug, Clone, Copy)]
struct Stack {
    start: usize,
    end: usize,
}

impl Stack {
    /// What is free below the caller's frame.
    fn below_here(end: usize) -> Self {
        let start = here().saturating_sub(BETWEEN).max(end);
        Self { start, end }
    }

    fn left(self) -> usize {
        self.start - self.end
    }

    /// Whether the caller's frame lies in it, or close above.
    fn is_here(self) -> bool {
        (self.end..self.start + BETWEEN).contains(&here())
    }
}

/// Puts back what was there, also when a panic passes.
struct Restore(Option<Stacks>);

impl Restore {
    fn and_set(stacks: Option<Stacks>) -> Self {
        Self(STACKS.replace(stacks))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        STACKS.set(self.0);
    }
}

/// Runs a call on a stack with at least 640 KiB: this one, if it has as much left.
pub fn with_room<R>(run: impl FnOnce() -> R) -> R {
    match end_here() {
        Some(end) if here().checked_sub(end).is_some_and(|left| left < NEEDED) => {
            once(run, |run| lend(end, run))
        }
        _ => run(),
    }
}

/// Where the stack ends that the thread is on. `None` if that isn't known: it may be one that the caller has made, and calls its
/// callbacks on.
fn end_here() -> Option<usize> {
    match STACKS.get() {
        Some(stacks) if stacks.is_on_own => Some(stacks.own.end),
        _ => match stacker::remaining_stack() {
            Some(0) | None => None,
            Some(left) => here().checked_sub(left),
        },
    }
}

fn lend(end: usize, run: &mut dyn FnMut()) {
    let own = Stack::below_here(end);
    let _restore = Restore::and_set(None);
    stacker::grow(LENT, || {
        if let (Some(end), true) = (end_here(), CAN_CHANGE) {
            let lent = Stack::below_here(end);
            STACKS.set(Some(Stacks {
                own,
                lent,
                is_on_own: false,
            }));
        }
        run();
    });
}

/// Runs a host function on the thread's own stack, if another was lent and 64 KiB are left there.
pub fn on_own<R>(run: impl FnOnce() -> R) -> R {
    let is_wanted = |stacks: Stacks| {
        !stacks.is_on_own && stacks.lent.is_here() && stacks.own.left() >= FOR_HOST_FUNCTION
    };
    on_the_other_if(is_wanted, run)
}

/// Runs what such a host function asks the plugin for on the stack that was lent.
pub fn on_lent<R>(run: impl FnOnce() -> R) -> R {
    on_the_other_if(|stacks| stacks.is_on_own && stacks.own.is_here(), run)
}

/// Runs a function on the other stack of a call that was lent one, if that is wanted. Hardly any call is lent one, and a host function
/// takes 30 ns, so nothing but a look is in its way then.
fn on_the_other_if<R>(is_wanted: impl FnOnce(Stacks) -> bool, run: impl FnOnce() -> R) -> R {
    match STACKS.get() {
        None => run(),
        Some(stacks) => stacks.on_the_other_if(is_wanted, run),
    }
}

/// Has a function run elsewhere. That and its result may be of any size; they lie here, and where stacks are changed there is only
/// a reference.
fn once<R>(run: impl FnOnce() -> R, elsewhere: impl FnOnce(&mut dyn FnMut())) -> R {
    let (mut run, mut result) = (Some(run), None);
    elsewhere(&mut || result = run.take().map(|run| run()));
    result.expect("it returned")
}

fn here() -> usize {
    psm::stack_pointer().addr()
}

psm::psm_stack_manipulation! {
    yes {
        const CAN_CHANGE: bool = true;

        /// Runs a function on another stack of this thread.
        fn change(to: Stack, run: &mut dyn FnMut()) {
            const ALIGNMENT: usize = 16; // the most that any platform wants
            let end = to.end.next_multiple_of(ALIGNMENT);
            let bytes = to.left().saturating_sub(end - to.end) / ALIGNMENT * ALIGNMENT;
            // SAFETY: these bytes are part of a stack of this thread, lie below everything that is on it, and stay so until
            // this returns, as the thread is here. Both ends are aligned. No panic leaves the function.
            let panic = unsafe {
                psm::on_stack(ptr::with_exposed_provenance_mut(end), bytes, || {
                    catch_unwind(AssertUnwindSafe(run)).err()
                })
            };
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
        }
    }
    no {
        const CAN_CHANGE: bool = false;

        fn change(_: Stack, run: &mut dyn FnMut()) {
            run();
        }
    }
}
