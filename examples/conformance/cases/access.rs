//! Section 2: loads and stores by plugins.

use super::Book;

pub(super) fn cases(book: &mut Book) {
    alignment(book);
    widths(book);
    anywhere(book);
    outside(book);
    unchecked_plugins(book);
}

fn alignment(book: &mut Book) {
    let bytes: [u8; 16] = [
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xf1, 0xe2, 0xd3, 0xc4, 0xb5, 0xa6, 0x97,
        0x88,
    ];
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for shift in 0..8 {
        let value = u64::from_le_bytes(bytes[shift..shift + 8].try_into().expect("eight bytes"));
        book.case(
            format!("load_u64: alignment {shift}"),
            "loads are little endian, at any alignment",
            |c| {
                c.block("a", 16);
                c.write("$a", &hex);
                c.load_u64(format!("$a+{shift}").replace("+0", ""))
                    .is(value);
                c.load_u8(format!("$a+{}", shift + 8))
                    .is(u64::from(bytes[shift + 8]));
            },
        );
        book.case(
            format!("store_u64: alignment {shift}"),
            "stores are little endian, at any alignment, and change eight bytes",
            |c| {
                c.filled("a", 16, 0x5a);
                c.store_u64(format!("$a+{shift}").replace("+0", ""), value);
                let stored = &hex[2 * shift..2 * shift + 16];
                c.read(
                    "$a",
                    &format!("{}{stored}{}", "5a".repeat(shift), "5a".repeat(8 - shift)),
                );
            },
        );
    }
}

fn widths(book: &mut Book) {
    for (value, byte) in [
        (0u64, 0u64),
        (1, 1),
        (0x7f, 0x7f),
        (0x80, 0x80),
        (0xff, 0xff),
        (0x100, 0),
        (0x1ff, 0xff),
        (0x8000_0041, 0x41),
        (0xffff_ffff, 0xff),
    ] {
        book.case(
            format!("store_u8: {value}"),
            "store_u8 truncates to 8 bits, and load_u8 and input_load_u8 return 0 to 255",
            |c| {
                c.filled("a", 3, 0x5a);
                c.store_u8("$a+1", value);
                c.read("$a", &format!("5a{byte:02x}5a"));
                c.load_u8("$a+1").is(byte);
                c.input_set("$a", 3);
                c.input_load_u8(1).is(byte);
            },
        );
    }
    book.case(
        "store_u64: all bits",
        "a u64 comes back as it was stored",
        |c| {
            c.block("a", 8);
            for value in [
                0,
                1,
                1 << 31,
                1 << 32,
                1 << 63,
                u64::MAX,
                0x0123_4567_89ab_cdef,
            ] {
                c.store_u64("$a", value);
                c.load_u64("$a").is(value);
                c.peek("$a").is(value);
            }
        },
    );
}

fn anywhere(book: &mut Book) {
    let reason = "loads and stores reach any byte of the heap: live, freed, or not yet allocated";
    book.case("heap access: freed", reason, |c| {
        c.filled("a", 64, 0xa5);
        c.free("$a");
        c.load_u64("$a+8").is(0xa5a5_a5a5_a5a5_a5a5);
        c.store_u64("$a+8", 7);
        c.load_u64("$a+8").is(7);
        c.peek("$a+8").is(7);
    });
    for delta in [100, 1000, 30_000] {
        book.case(format!("heap access: {delta} bytes ahead"), reason, |c| {
            c.block("a", 8);
            c.load_u64(format!("$a+{delta}")).is(0);
            c.store_u64(format!("$a+{delta}"), 0x1234_5678_9abc_def0);
            c.load_u64(format!("$a+{delta}")).is(0x1234_5678_9abc_def0);
            c.store_u8(format!("$a+{delta}"), 0x11);
            c.load_u8(format!("$a+{delta}")).is(0x11);
            c.peek(format!("$a+{delta}")).is(0x1234_5678_9abc_de11);
            c.length("$a").is(8);
        });
    }
    book.case("heap access: before any allocation", reason, |c| {
        c.learn_first();
        c.load_u8("$first").is(0);
        c.store_u64("$first", 5);
        c.load_u64("$first").is(5);
    });
    book.case("heap access: all of a large block", reason, |c| {
        c.block("a", 200_000);
        for at in [0, 65_528, 65_535, 131_071, 199_992] {
            let at = if at == 0 {
                "$a".into()
            } else {
                format!("$a+{at}")
            };
            c.store_u64(at.clone(), u64::MAX - 1);
            c.load_u64(at.clone()).is(u64::MAX - 1);
            c.peek(at).is(u64::MAX - 1);
        }
    });
}

fn outside(book: &mut Book) {
    let reason = "an access any byte of which lies outside of the heap loads 0 and stores nothing, and never traps";
    let absolute = [
        ("0", 0),
        ("2^32", 1u64 << 32),
        ("2^32-1", (1 << 32) - 1),
        ("2^32-4", (1 << 32) - 4),
        ("2^31", 1 << 31),
        ("2^48", 1 << 48),
        ("2^63-1", (1 << 63) - 1),
        ("2^63", 1 << 63),
        ("2^64-8", u64::MAX - 7),
        ("2^64-4", u64::MAX - 3),
        ("2^64-1", u64::MAX),
    ];
    for (name, offset) in absolute {
        book.case(format!("outside of the heap: {name}"), reason, |c| {
            c.filled("a", 64, 0xa5);
            c.peek(0).save("zero");
            c.load_u8(offset).is(0);
            c.load_u64(offset).is(0);
            c.store_u8(offset, 0x77);
            c.store_u64(offset, u64::MAX);
            c.peek(0).is("$zero");
            c.grown(0);
            c.intact("a", 64, 0xa5);
        });
    }
    for delta in [0u64, 1, 7, 8, 65_536, 1 << 31] {
        let name = format!("$end+{delta}").replace("+0", "");
        book.case(
            format!("outside of the heap: {}", &name[1..]),
            reason,
            |c| {
                c.filled("a", 64, 0xa5);
                c.load_u8(name.as_str()).is(0);
                c.load_u64(name.as_str()).is(0);
                c.store_u8(name.as_str(), 0x77);
                c.store_u64(name.as_str(), u64::MAX);
                c.grown(0);
                c.intact("a", 64, 0xa5);
            },
        );
    }
    for delta in 1..8 {
        book.case(
            format!("outside of the heap: u64 at end-{delta}"),
            reason,
            |c| {
                c.block("a", 64);
                c.peek("$end-8").save("last");
                c.load_u64(format!("$end-{delta}")).is(0);
                c.store_u64(format!("$end-{delta}"), 0x7777_7777_7777_7777);
                c.peek("$end-8").is("$last");
            },
        );
    }
    for (name, delta) in [
        ("2^32", 1u64 << 32),
        ("2^33", 1 << 33),
        ("2^48", 1 << 48),
        ("2^63", 1 << 63),
    ] {
        book.case(
            format!("outside of the heap: handle+{name}"),
            "2^32 and above are outside: no bit of an offset is lost",
            |c| {
                c.filled("a", 64, 0xa5);
                c.load_u8(format!("$a+{delta}")).is(0);
                c.load_u64(format!("$a+{delta}")).is(0);
                c.store_u8(format!("$a+{delta}"), 0x77);
                c.store_u64(format!("$a+{delta}"), u64::MAX);
                c.intact("a", 64, 0xa5);
            },
        );
    }
    book.case(
        "outside of the heap: behind large memory",
        "the end moves with growth",
        |c| {
            c.block("a", 1_000_000);
            for delta in ["", "+8", "-7", "-1"] {
                c.load_u64(format!("$end{delta}")).is(0);
                c.store_u64(format!("$end{delta}"), 0x7777_7777_7777_7777);
            }
            c.load_u8("$end").is(0);
            c.length("$a").is(1_000_000);
        },
    );
}

/// Plugins that check nothing.
fn unchecked_plugins(book: &mut Book) {
    let reason = "plugins do not check for a failed alloc, and store at 0+i: that touches nothing below the heap and no bookkeeping";
    book.case("unchecked: a few bytes at 0", reason, |c| {
        c.filled("a", 64, 0xa5);
        c.peek(0).save("zero");
        c.alloc(1 << 40).is(0);
        for i in 0..8u64 {
            c.store_u8(i, 0x77);
        }
        c.peek(0).is("$zero");
        c.store_u64(0, u64::MAX);
        c.peek(0).is("$zero");
        c.intact("a", 64, 0xa5);
    });
    for (width, name) in [(1, "u8"), (8, "u64")] {
        book.case(
            format!("unchecked: store_{name} over everything"),
            reason,
            |c| {
                c.learn_first();
                c.block("a", 64);
                c.block("b", 8);
                c.alloc(1 << 40).is(0);
                c.value(0).save("p");
                c.repeat(70_000 / width, |c| {
                    if width == 1 {
                        c.store_u8("$p", 0xff);
                    } else {
                        c.store_u64("$p", u64::MAX);
                    }
                    c.value(format!("$p+{width}")).save("p");
                });
                c.length("$a").either(64, 0);
                c.length("$b").either(8, 0);
                c.filled("d", 100, 0xdd);
                c.filled("e", 100, 0xee);
                c.intact("d", 100, 0xdd);
                c.intact("e", 100, 0xee);
                c.reset();
                c.as_new();
            },
        );
    }
    book.case(
        "unchecked: the output of a failed alloc",
        "a range at 0 is not in the heap",
        |c| {
            c.alloc(1 << 40).is(0);
            c.output_set(0, 100);
            c.named("output", 0, 0);
            c.error_set(0);
            c.error_get().is(0);
        },
    );
    for over in [1, 7, 8, 20, 1000] {
        book.case(
            format!("overrun: {over} bytes"),
            "a plugin that overruns its last block and outputs the whole of it works while nothing was allocated behind",
            |c| {
                c.block("a", 10);
                c.value("$a").save("p");
                c.repeat(10 + over, |c| {
                    c.store_u8("$p", 0x6f);
                    c.value("$p+1").save("p");
                });
                c.output_set("$a", 10 + over);
                c.named("output", "$a", 10 + over);
                c.read_all("$a", 10 + over, 0x6f);
                c.length("$a").is(10);
            },
        );
    }
}
