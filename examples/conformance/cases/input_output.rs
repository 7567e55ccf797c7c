//! Section 3: input, output, error, reset.

use super::{Book, PAGE};

pub(super) fn cases(book: &mut Book) {
    for which in ["input", "output"] {
        accepted(book, which);
        ignored(book, which);
    }
    input_loads(book);
    error(book);
    reset(book);
}

fn accepted(book: &mut Book, which: &str) {
    let reason = format!("{which}_set accepts any range that lies in the heap");
    for (name, delta, length) in [
        ("all", "", 32),
        ("shorter", "", 31),
        ("one byte", "", 1),
        ("a slice", "+8", 16),
        ("an unaligned slice", "+3", 5),
        ("the last byte", "+31", 1),
        ("beyond its end", "+16", 100),
        ("fresh space", "+1000", 64),
    ] {
        book.case(format!("{which}: {name}"), &reason, |c| {
            c.block("a", 32);
            c.set(which, format!("$a{delta}"), length);
            c.named(which, format!("$a{delta}"), length);
            c.length("$a").is(32);
        });
    }
    book.case(format!("{which}: a freed block"), &reason, |c| {
        c.filled("a", 32, 0xaa);
        c.free("$a");
        c.set(which, "$a", 32);
        c.named(which, "$a", 32);
        c.read_all("$a", 32, 0xaa);
    });
    book.case(format!("{which}: a large block"), &reason, |c| {
        c.block("a", 300_000);
        c.set(which, "$a", 300_000);
        c.named(which, "$a", 300_000);
        c.set(which, "$a+70000", 200_000);
        c.named(which, "$a+70000", 200_000);
    });
    book.case(format!("{which}: set again"), &reason, |c| {
        c.block("a", 32);
        c.block("b", 8);
        c.set(which, "$a", 32);
        c.set(which, "$b", 8);
        c.named(which, "$b", 8);
        c.set(which, "$a", 4);
        c.named(which, "$a", 4);
    });
    book.case(
        format!("{which}: emptied"),
        "(p, 0) with p in the heap is accepted and empties it",
        |c| {
            c.block("a", 32);
            c.set(which, "$a", 32);
            c.set(which, "$a", 0);
            c.named(which, "$a", 0);
            c.set(which, "$a+8", 0);
            c.named(which, "$a+8", 0);
        },
    );
    book.case(
        format!("{which}: none at first"),
        "offset and length are 0 until one is set",
        |c| {
            c.named(which, 0, 0);
            c.block("a", 32);
            c.named(which, 0, 0);
        },
    );
}

fn ignored(book: &mut Book, which: &str) {
    let reason = "anything that does not lie in the heap is ignored and leaves what was set before";
    let above = |delta: u64| format!("$a+{delta}");
    for (name, offset, length) in [
        ("(0, 0)", "0".into(), 0),
        ("(0, 8)", "0".into(), 8),
        ("(handle, -1)", "$a".into(), u64::MAX),
        ("(handle, -10)", "$a".into(), u64::MAX - 9),
        ("(handle, 2^63)", "$a".into(), 1 << 63),
        ("(handle, 2^32)", "$a".into(), 1 << 32),
        ("(handle, 2^32-8)", "$a".into(), (1 << 32) - 8),
        ("(handle, 65536)", "$a".into(), PAGE),
        ("(handle+2^32, 8)", above(1 << 32), 8),
        ("(handle+2^32, 0)", above(1 << 32), 0),
        ("(handle+2^63, 8)", above(1 << 63), 8),
        ("(end, 1)", "$end".into(), 1),
        ("(end, 0)", "$end".into(), 0),
        ("(end-4, 8)", "$end-4".into(), 8),
        ("(-1, 1)", u64::MAX.to_string(), 1),
        ("(-1, 2)", u64::MAX.to_string(), 2),
        ("(-8, 16)", (u64::MAX - 7).to_string(), 16),
        ("(-1, -1)", u64::MAX.to_string(), u64::MAX),
    ] {
        book.case(format!("{which} ignored: {name}"), reason, |c| {
            c.block("a", 32);
            c.set(which, offset.clone(), length);
            c.named(which, 0, 0);
            c.set(which, "$a+8", 16);
            c.set(which, offset, length);
            c.named(which, "$a+8", 16);
        });
    }
}

fn input_loads(book: &mut Book) {
    book.case(
        "input loads: bytes",
        "input_load_u8 reads the input at i",
        |c| {
            c.block("a", 5);
            c.write("$a", "68656c6cff");
            c.input_set("$a", 5);
            for (i, byte) in [0x68, 0x65, 0x6c, 0x6c, 0xff].into_iter().enumerate() {
                c.input_load_u8(i as u64).is(byte);
            }
        },
    );
    book.case(
        "input loads: u64 at any index",
        "input_load_u64 reads the input at i, little endian",
        |c| {
            c.block("a", 16);
            c.write("$a", "0123456789abcdeff1e2d3c4b5a69788");
            c.input_set("$a", 16);
            c.input_load_u64(0).is(0xefcd_ab89_6745_2301);
            c.input_load_u64(1).is(0xf1ef_cdab_8967_4523);
            c.input_load_u64(8).is(0x8897_a6b5_c4d3_e2f1);
        },
    );
    book.case(
        "input loads: a slice",
        "i counts from the start of the input",
        |c| {
            c.block("a", 16);
            c.write("$a", "0123456789abcdeff1e2d3c4b5a69788");
            c.input_set("$a+3", 9);
            c.input_load_u8(0).is(0x67);
            c.input_load_u8(8).is(0xc4);
            c.input_load_u8(9).is(0);
            c.input_load_u64(1).is(0xc4d3_e2f1_efcd_ab89);
            c.input_load_u64(2).is(0);
        },
    );
    for n in [1, 7, 8, 9, 15, 16] {
        book.case(
            format!("input loads: the end of {n} bytes"),
            "all bytes of the access must lie inside of the input, else 0",
            |c| {
                c.filled("a", 64, 0x33);
                c.input_set("$a", n);
                c.input_load_u8(n - 1).is(0x33);
                c.input_load_u8(n).is(0);
                for i in 0..=n {
                    let whole = i + 8 <= n;
                    c.input_load_u64(i)
                        .is(if whole { 0x3333_3333_3333_3333 } else { 0 });
                }
            },
        );
    }
    for (name, i) in [
        ("2^31", 1u64 << 31),
        ("2^32-1", (1 << 32) - 1),
        ("2^32", 1 << 32),
        ("2^63", 1 << 63),
        ("2^64-8", u64::MAX - 7),
        ("2^64-1", u64::MAX),
    ] {
        book.case(
            format!("input loads: at {name}"),
            "all bytes of the access must lie inside of the input, else 0; no sum wraps",
            |c| {
                c.filled("a", 64, 0x33);
                c.filled("b", 64, 0x33);
                c.input_set("$b", 64);
                c.input_load_u8(i).is(0);
                c.input_load_u64(i).is(0);
            },
        );
    }
    book.case(
        "input loads: no input",
        "without an input every load is 0",
        |c| {
            c.filled("a", 64, 0x33);
            c.input_load_u8(0).is(0);
            c.input_load_u64(0).is(0);
            c.input_load_u8("$a").is(0);
            c.input_load_u64("$a").is(0);
            c.input_set("$a", 64);
            c.input_set("$a", 0);
            c.input_load_u8(0).is(0);
            c.input_load_u64(0).is(0);
        },
    );
    book.case(
        "input loads: a call's input",
        "the plugin reads n/8 u64 and n%8 bytes",
        |c| {
            c.block("a", 19);
            c.write("$a", "54686520717569636b2062726f776e20666f78");
            c.input_set("$a", 19);
            c.input_offset().is("$a");
            c.input_length().is(19);
            c.input_load_u64(0).is(u64::from_le_bytes(*b"The quic"));
            c.input_load_u64(8).is(u64::from_le_bytes(*b"k brown "));
            c.input_load_u8(16).is(u64::from(b'f'));
            c.input_load_u8(17).is(u64::from(b'o'));
            c.input_load_u8(18).is(u64::from(b'x'));
        },
    );
}

fn error(book: &mut Book) {
    book.case(
        "error: set and cleared",
        "error_get returns what error_set stored; 0 clears",
        |c| {
            c.error_get().is(0);
            c.block("a", 16);
            c.error_set("$a");
            c.error_get().is("$a");
            c.block("b", 16);
            c.error_set("$b");
            c.error_get().is("$b");
            c.error_set(0);
            c.error_get().is(0);
        },
    );
    for (name, delta) in [("inside of a block", "+5"), ("in fresh space", "+1000")] {
        book.case(
            format!("error: {name}"),
            "any offset in the heap is stored",
            |c| {
                c.block("a", 16);
                c.error_set(format!("$a{delta}"));
                c.error_get().is(format!("$a{delta}"));
                c.length(format!("$a{delta}")).is(0);
            },
        );
    }
    book.case(
        "error: a freed block",
        "any offset in the heap is stored",
        |c| {
            c.block("a", 16);
            c.free("$a");
            c.error_set("$a");
            c.error_get().is("$a");
            c.length("$a").is(0);
        },
    );
    for (name, offset) in [
        ("end", "$end".to_owned()),
        ("end+8", "$end+8".into()),
        ("2^31", (1u64 << 31).to_string()),
        ("2^32", (1u64 << 32).to_string()),
        ("handle+2^32", format!("$a+{}", 1u64 << 32)),
        ("handle+2^63", format!("$a+{}", 1u64 << 63)),
        ("2^64-1", u64::MAX.to_string()),
    ] {
        book.case(
            format!("error ignored: {name}"),
            "anything outside of the heap is ignored",
            |c| {
                c.block("a", 16);
                c.error_set(offset.clone());
                c.error_get().is(0);
                c.error_set("$a");
                c.error_set(offset);
                c.error_get().is("$a");
            },
        );
    }
    book.case(
        "error: what a host reads",
        "there is an error only if error_get and its length are both non-zero",
        |c| {
            c.block("a", 5);
            c.write("$a", "6f6f707321");
            c.error_set("$a");
            c.error_get().is("$a");
            c.length("$a").is(5);
            c.read("$a", "6f6f707321");
        },
    );
}

fn reset(book: &mut Book) {
    let reason = "reset makes the kernel as new, but for the memory that it holds";
    book.case("reset: a fresh kernel", reason, |c| {
        c.memory_bytes().save("bytes");
        c.reset();
        c.reset();
        c.memory_bytes().is("$bytes");
        c.block("first", 5);
        c.reset();
        c.as_new();
    });
    book.case(
        "reset: input, output, error",
        "input, output and error are 0",
        |c| {
            c.learn_first();
            c.filled("a", 64, 0x33);
            c.input_set("$a", 64);
            c.output_set("$a", 64);
            c.error_set("$a");
            c.reset();
            c.named("input", 0, 0);
            c.named("output", 0, 0);
            c.error_get().is(0);
            c.input_load_u8(0).is(0);
            c.input_load_u64(0).is(0);
            c.as_new();
        },
    );
    book.case("reset: handles", "all handles are dead", |c| {
        c.block("a", 16);
        c.block("b", 1000);
        c.block("c", 100_000);
        c.reset();
        for name in ["$a", "$b", "$c"] {
            c.length(name).is(0);
            c.length_unsafe(name).is(0);
            c.free(name);
        }
        c.alloc(2000).is("$a");
        c.free("$b");
        c.length("$a").is(2000);
        c.length("$b").is(0);
        c.length("$c").is(0);
    });
    for n in [1, 16, 1000, 65_536, 1_000_000] {
        book.case(
            format!("reset: the first handle, {n} bytes"),
            "the next handle is the first one ever given",
            |c| {
                c.block("first", 5);
                c.repeat(3, |c| {
                    c.block("a", n);
                    c.free("$a");
                    c.block("b", n);
                });
                c.value("$end").save("size");
                c.memory_bytes().save("bytes");
                for _ in 0..3 {
                    c.reset();
                    c.memory_bytes().is("$bytes");
                    c.value("$end").is("$size");
                    c.alloc(n).is("$first");
                }
            },
        );
    }
    let reason = "every byte ever used since the last reset is zero";
    for n in [1, 100, 60_000, 1_000_000] {
        book.case(format!("reset: {n} live bytes"), reason, |c| {
            c.learn_first();
            c.filled("a", n, 0xff);
            c.filled("b", n, 0xff);
            c.reset();
            c.read_all("$a", n, 0);
            c.read_all("$b", n, 0);
            c.load_u64("$a").is(0);
            c.as_new();
        });
    }
    book.case("reset: all between the blocks", reason, |c| {
        c.block("a", 100);
        c.repeat(50, |c| {
            c.filled("b", 77, 0xff);
        });
        c.reset();
        c.value("$a").save("p");
        c.repeat(600, |c| {
            c.peek("$p").is(0);
            c.value("$p+8").save("p");
        });
    });
    book.case("reset: freed and reused bytes", reason, |c| {
        c.learn_first();
        c.filled("a", 60_000, 0xff);
        c.free("$a");
        c.filled("b", 50_000, 0xee);
        c.free("$b");
        c.filled("c", 30_000, 0xdd);
        c.reset();
        c.read_all("$a", 60_000, 0);
        c.read_all("$b", 50_000, 0);
        c.read_all("$c", 30_000, 0);
        c.as_new();
    });
    for delta in [8, 100, 50_000] {
        book.case(format!("reset: stored {delta} bytes ahead"), reason, |c| {
            c.block("a", 8);
            c.store_u64(format!("$a+{delta}"), u64::MAX);
            c.store_u8(format!("$a+{}", delta + 10), 0xff);
            c.reset();
            c.peek(format!("$a+{delta}")).is(0);
            c.load_u8(format!("$a+{}", delta + 10)).is(0);
        });
    }
    book.case("reset: stored before any allocation", reason, |c| {
        c.learn_first();
        c.store_u64("$first+24", u64::MAX);
        c.reset();
        c.peek("$first+24").is(0);
        c.as_new();
    });
    book.case(
        "reset: free space is whole again",
        "nothing is left of what was allocated",
        |c| {
            c.spare(0);
            c.learn_first();
            c.use_up();
            c.alloc(100).is(0);
            c.reset();
            c.alloc(60_000).is("$first");
            c.length("$first").is(60_000);
        },
    );
    book.case(
        "reset: call after call",
        "every call finds the kernel as new",
        |c| {
            c.learn_first();
            c.repeat(1000, |c| {
                c.error_set(0);
                c.reset();
                c.alloc(100).is("$first");
                c.write_all("$first", 100, 0x61);
                c.input_set("$first", 100);
                c.input_load_u64(92).is(0x6161_6161_6161_6161);
                c.alloc(50).not(0).save("output");
                c.store_u64("$output", 5);
                c.output_set("$output", 50);
                c.error_get().is(0);
            });
            c.grown(0);
        },
    );
    book.case("reset: the context", "extism_context is left alone", |c| {
        c.context("set");
        c.block("a", 100);
        c.reset();
        c.context("kept");
        c.reset();
        c.context("kept");
    });
}
