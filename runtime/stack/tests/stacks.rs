//! Where functions run, told by the addresses of their locals.

use std::{
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    thread,
};

use extism_stack::{on_lent, on_own, with_room};
use proptest::{collection::vec, prelude::*, sample::select};

const SMALL: usize = 256 << 10;
const LENT: usize = 2 << 20;

/// An address on the stack that this runs on.
#[inline(never)]
fn here() -> usize {
    let local = black_box([0_u8; 16]);
    (&raw const local).addr()
}

/// Runs in a thread with so many bytes of stack; what runs is told where that begins.
fn in_thread<R: Send>(bytes: usize, run: impl FnOnce(usize) -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(bytes);
        let thread = thread.spawn_scoped(scope, || run(here()));
        thread
            .unwrap()
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Whether this runs on the stack that begins there.
fn is_on(start: usize, bytes: usize) -> bool {
    (start - bytes..start).contains(&here())
}

#[derive(Debug, Clone, Copy)]
enum Change {
    WithRoom,
    OnOwn,
    OnLent,
}

/// Which stack of a small thread runs.
#[derive(Clone)]
struct Model {
    own: usize,
    /// Where each stack that was lent begins, the last one last.
    lent: Vec<usize>,
    is_on_own: bool,
}

impl Model {
    /// Where the change leads; `None` to a stack that is lent by it.
    fn after(&self, change: Change) -> Option<Self> {
        let is_on_own = match change {
            Change::WithRoom if self.is_on_own => return None,
            Change::WithRoom => false,
            Change::OnOwn => true,
            Change::OnLent => self.lent.is_empty(),
        };
        Some(Self {
            is_on_own,
            ..self.clone()
        })
    }

    fn is_right(&self) -> bool {
        match (self.is_on_own, self.lent.last()) {
            (false, Some(lent)) => is_on(*lent, LENT),
            _ => is_on(self.own, SMALL),
        }
    }
}

/// Makes the changes inside of each other, and looks where each leads. What a function has on the stack stays as it is, whatever others
/// put there.
#[inline(never)]
fn nest(changes: &[Change], model: &Model) {
    assert!(model.is_right());
    let [change, rest @ ..] = changes else { return };
    let kept = black_box([changes.len(); 200]);
    let next = model.after(*change);
    let inner = || {
        let next = next.unwrap_or_else(|| {
            let lent = [&model.lent[..], &[here() + (64 << 10)]].concat();
            Model {
                lent,
                is_on_own: false,
                ..*model
            }
        });
        nest(rest, &next);
        changes.len()
    };
    let result = match change {
        Change::WithRoom => with_room(inner),
        Change::OnOwn => on_own(inner),
        Change::OnLent => on_lent(inner),
    };
    assert_eq!(result, changes.len());
    assert_eq!(black_box(kept), [changes.len(); 200]);
    assert!(model.is_right());
}

proptest! {
    #[test]
    fn changes_lead_where_they_should(changes in vec(select(vec![Change::WithRoom, Change::OnOwn, Change::OnLent]), 1..14)) {
        in_thread(SMALL, |own| nest(&changes, &Model { own, lent: vec![], is_on_own: true }));
    }
}

#[test]
fn a_thread_with_room_stays_where_it_is() {
    let bytes = 1 << 20;
    in_thread(bytes, |own| {
        with_room(|| {
            assert!(is_on(own, bytes));
            on_own(|| {
                assert!(is_on(own, bytes));
                on_lent(|| with_room(|| assert!(is_on(own, bytes))));
            });
        });
    });
}

#[test]
fn a_host_function_has_64_kib_at_least() {
    for (bytes, has_them) in [(48 << 10, false), (128 << 10, true)] {
        let is_on_own = in_thread(bytes, |own| with_room(|| on_own(|| is_on(own, bytes))));
        assert_eq!(is_on_own, has_them, "{bytes}");
    }
}

/// Goes so many bytes down the stack.
#[inline(never)]
fn descend(bytes: usize) {
    #[inline(never)]
    fn to(end: usize) {
        let taken = black_box([0xFF_u8; 1 << 10]);
        if here() > end {
            to(end);
        }
        assert_eq!(black_box(taken), [0xFF; 1 << 10]);
    }
    to(here() - bytes);
}

#[test]
fn what_is_lent_has_room() {
    const ROOM: usize = 640 << 10;
    in_thread(96 << 10, |_| with_room(|| descend(ROOM)));
    // Behind a host function on the thread's own stack, too.
    in_thread(SMALL, |_| {
        with_room(|| on_own(|| on_lent(|| descend(ROOM))))
    });
    in_thread(SMALL, |_| {
        with_room(|| on_own(|| with_room(|| descend(ROOM))))
    });
}

/// However large they are, they don't lie where another stack is used.
#[test]
fn functions_and_results_may_be_large() {
    let large = [7_u8; 5_000];
    let add = move |one: [u8; 5_000]| {
        black_box([0xFF_u8; 9_000]);
        let mut sum = large;
        sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
        sum
    };
    // Unoptimised, each of them is copied often.
    let sum = in_thread(600 << 10, move |_| {
        with_room(move || add(on_own(move || add(on_lent(move || add([0; 5_000]))))))
    });
    assert_eq!(sum, [21; 5_000]);
}

/// A panic gets back to where the thread came from, and the next call finds all as it was.
#[test]
fn panics_pass() {
    in_thread(SMALL, |own| {
        for _ in 0..3 {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                with_room(|| on_own(|| on_lent(|| panic_any("a panic"))));
            }));
            assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"a panic"));
            assert!(is_on(own, SMALL));
            on_lent(|| assert!(is_on(own, SMALL)));
        }
    });
}
