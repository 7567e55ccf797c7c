//! Section 1: what the module exports, and what handles are.

use super::{Book, FUNCTIONS, SIZES};

pub(super) fn cases(book: &mut Book) {
    module(book);
    first_calls(book);
    handles(book);
}

fn module(book: &mut Book) {
    book.case(
        "exports: the names",
        "exactly these exports, and no imports",
        |c| c.exports(),
    );
    book.case("exports: the memory", "initially one page", |c| c.pages(1));
    book.case(
        "exports: no maximum",
        "the memory has no maximum: whoever hosts the kernel may grow it",
        |c| {
            c.grow(150);
            c.value("$end").is("$start+9830400");
        },
    );
    book.case(
        "exports: the context is null",
        "extism_context is initially null",
        |c| c.context("null"),
    );
    book.case(
        "exports: the context is the host's",
        "extism_context is mutable, and no export changes it",
        |c| {
            c.context("set");
            c.block("a", 5);
            c.free("$a");
            c.error_set(0);
            c.context("kept");
        },
    );
}

fn first_calls(book: &mut Book) {
    for &(name, arguments) in FUNCTIONS {
        book.case(
            format!("first call: {name}"),
            "any export may be the first one called: there is no init call",
            |c| {
                let answer = match arguments {
                    0 => c.call(name, []),
                    1 => c.call(name, ["0".into()]),
                    _ => c.call(name, ["0".into(), "0".into()]),
                };
                if name != "memory_bytes" {
                    answer.is(0);
                }
                c.error_set(0);
                c.reset();
                c.block("a", 5);
                c.length("$a").is(5);
            },
        );
    }
    book.case(
        "first call: a host's order",
        "hosts clear the error and reset before they allocate anything, and set an empty input as (0, 0)",
        |c| {
            c.error_set(0);
            c.reset();
            c.input_set(0, 0);
            c.named("input", 0, 0);
            c.named("output", 0, 0);
            c.error_get().is(0);
            c.block("a", 5);
        },
    );
}

fn handles(book: &mut Book) {
    for n in SIZES {
        book.case(
            format!("handles: {n} bytes"),
            "handles are non-zero, below 2^32 and 8-byte aligned",
            |c| {
                c.alloc(n).not(0).below(1 << 32).multiple_of(8).save("a");
                c.alloc(n)
                    .not("$a")
                    .not(0)
                    .below(1 << 32)
                    .multiple_of(8)
                    .save("b");
                c.inside("$a", n);
                c.inside("$b", n);
            },
        );
    }
    book.case(
        "handles: a host writes, a plugin loads",
        "handles are plain offsets into memory: hosts copy bytes to memory[handle..] themselves",
        |c| {
            c.block("a", 8);
            c.write("$a", "68656c6c6f000180");
            c.load_u8("$a").is(0x68);
            c.load_u8("$a+4").is(0x6f);
            c.load_u64("$a").is(0x8001_006f_6c6c_6568);
        },
    );
    book.case(
        "handles: a plugin stores, a host reads",
        "handles are plain offsets into memory: hosts read memory[handle..] themselves",
        |c| {
            c.block("a", 9);
            c.store_u64("$a", 0x8001_006f_6c6c_6568);
            c.store_u8("$a+8", 0x21);
            c.read("$a", "68656c6c6f00018021");
        },
    );
}
