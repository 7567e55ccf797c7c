//! Section 4: hostile plugins, and hosts that write anywhere.

use super::{Book, EDGES, FUNCTIONS, PAGE, Script};

pub(super) fn cases(book: &mut Book) {
    wild_arguments(book);
    told_ranges(book);
    overwritten_prefixes(book);
    forged_prefixes(book);
    stores_everywhere(book);
    scribbling_hosts(book);
}

fn wild_arguments(book: &mut Book) {
    for &(name, arguments) in FUNCTIONS.iter().filter(|(_, arguments)| *arguments > 0) {
        book.case(
            format!("wild arguments: {name}"),
            "no export ever traps, whatever its arguments, and what the kernel tells the host is true",
            |c| {
                // Large enough for the edges below, small enough for every engine.
                c.spare(3);
                c.filled("a", 32, 0xaa);
                c.filled("b", 32, 0xbb);
                for edge in EDGES.map(|edge| edge.to_string()).into_iter().chain(
                    ["0", "$a-1", "$a+1", "$b-8", "$end", "$end-1", "$end-8"].map(str::to_owned),
                ) {
                    // These would change the blocks' own bytes.
                    if name.starts_with("store") && edge.starts_with("$b") {
                        continue;
                    }
                    match (name, arguments) {
                        (_, 1) => {
                            c.call(name, [edge]);
                        }
                        ("store_u8", _) => {
                            c.call(name, [edge, "4294967295".into()]);
                        }
                        _ => {
                            c.call(name, [edge.clone(), "8".into()]);
                            c.call(name, [edge.clone(), "18446744073709551615".into()]);
                            c.call(name, ["$a".into(), edge.clone()]);
                            c.call(name, [edge.clone(), edge]);
                        }
                    }
                    if name.ends_with("_set") {
                        c.ranges_inside("$a");
                    }
                }
                c.ranges_inside("$a");
                if !name.starts_with("store") {
                    c.intact("a", 32, 0xaa);
                    c.intact("b", 32, 0xbb);
                }
                c.error_set(0);
                c.reset();
                c.block("c", 32);
                c.length("$c").is(32);
            },
        );
    }
}

fn told_ranges(book: &mut Book) {
    let reason = "for output and input the range lies inside of the memory: hosts build slices from it without a check";
    for which in ["input", "output"] {
        for (name, length) in [
            ("-10", u64::MAX - 9),
            ("-1", u64::MAX),
            ("2^63", 1 << 63),
            ("2^32", 1 << 32),
        ] {
            book.case(format!("told ranges: {which}, {name} bytes"), reason, |c| {
                c.block("a", 16);
                c.set(which, "$a", length);
                c.ranges_inside("$a");
                c.set(which, "$a+8", length);
                c.ranges_inside("$a+8");
                c.named(which, 0, 0);
            });
        }
    }
    book.case(
        "told ranges: an error at the end",
        "for every handle with a length the range lies inside of the memory",
        |c| {
            c.block("a", 16);
            for error in ["$end", "$end-1", "$end-8", "$end-24"] {
                c.error_set(error);
                c.ranges_inside(error);
            }
        },
    );
}

/// The bytes in front of a block.
fn overwritten_prefixes(book: &mut Book) {
    let reason =
        "whoever overwrites the 8 bytes in front of a block makes at most that one handle unknown";
    for (name, value) in [
        ("0", 0),
        ("all ones", u64::MAX),
        ("1", 1),
        ("2^31", 1 << 31),
        ("a huge length", u64::MAX - 7),
        ("4096", 4096),
        ("65536", PAGE),
    ] {
        book.case(format!("overwritten prefix: {name}"), reason, |c| {
            c.learn_first();
            c.filled("a", 32, 0xaa);
            c.filled("b", 40, 0xbb);
            c.filled("c", 48, 0xcc);
            c.store_u64("$b-8", value);
            c.length("$b").either(40, 0);
            c.length_unsafe("$b").either(40, 0);
            c.inside("$b", 40);
            c.intact("a", 32, 0xaa);
            c.intact("c", 48, 0xcc);
            c.free("$b");
            c.filled("d", 56, 0xdd);
            c.intact("a", 32, 0xaa);
            c.intact("c", 48, 0xcc);
            c.intact("d", 56, 0xdd);
            c.reset();
            c.as_new();
        });
    }
    for delta in 1..=8 {
        book.case(
            format!("overwritten prefix: the byte at handle-{delta}"),
            reason,
            |c| {
                c.filled("a", 32, 0xaa);
                c.filled("b", 40, 0xbb);
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    c.store_u8(format!("$b-{delta}"), value);
                    c.length("$b").either(40, 0);
                    c.length("$a").is(32);
                }
            },
        );
    }
    for delta in [16, 24, 32, 40] {
        book.case(
            format!("overwritten prefix: too far, handle-{delta}"),
            "nothing but at most 8 bytes in front of a block leads to it",
            |c| {
                c.block("a", 256);
                c.filled("b", 40, 0xbb);
                for value in [0, 1, u64::MAX, 1 << 32] {
                    c.store_u64(format!("$b-{delta}"), value);
                    c.intact("b", 40, 0xbb);
                    c.length("$a").is(256);
                }
            },
        );
    }
    book.case(
        "overwritten prefix: bytes behind a block",
        "nothing behind a block's data belongs to its bookkeeping",
        |c| {
            c.filled("b", 40, 0xbb);
            for delta in [40, 48, 56, 64] {
                c.store_u64(format!("$b+{delta}"), u64::MAX);
                c.intact("b", 40, 0xbb);
            }
            c.filled("d", 40, 0xdd);
            c.intact("b", 40, 0xbb);
            c.intact("d", 40, 0xdd);
        },
    );
    book.case(
        "overwritten prefix: the whole memory used",
        "two live blocks never overlap, whatever a plugin stores",
        |c| {
            c.spare(0);
            c.learn_first();
            for (name, byte) in [("a", 0xaa), ("b", 0xbb), ("c", 0xcc)] {
                c.filled(name, 1000, byte);
            }
            c.use_up();
            c.store_u64("$b-8", u64::MAX);
            c.free("$b");
            c.free("$a");
            c.store_u64("$a-8", u64::MAX);
            c.alloc(1000).either("$a", "$b").save("d");
            c.write_all("$d", 1000, 0xdd);
            c.alloc(100_000).is(0);
            c.intact("c", 1000, 0xcc);
            c.intact("d", 1000, 0xdd);
            c.reset();
            c.as_new();
        },
    );
}

/// Bytes in data that look like what the kernel writes in front of blocks.
fn forged_prefixes(book: &mut Book) {
    let reason =
        "what is trusted about a block can't be changed, nor a block be made up, by any store";
    book.case("forged prefix: a copy inside of data", reason, |c| {
        c.filled("a", 64, 0xaa);
        c.filled("b", 64, 0xbb);
        c.peek("$a-8").save("prefix");
        for delta in [0, 8, 16, 24] {
            let at = format!("$b+{delta}").replace("+0", "");
            c.store_u64(at, "$prefix");
            c.length(format!("$b+{}", delta + 8)).is(0);
            c.free(format!("$b+{}", delta + 8));
        }
        c.intact("a", 64, 0xaa);
        c.length("$b").is(64);
    });
    book.case("forged prefix: data full of copies", reason, |c| {
        c.filled("a", 64, 0xaa);
        c.block("b", 4096);
        c.peek("$b-8").save("prefix");
        c.value("$b").save("p");
        c.repeat(512, |c| {
            c.store_u64("$p", "$prefix");
            c.value("$p+8").save("p");
        });
        c.value("$b").save("p");
        c.repeat(511, |c| {
            c.value("$p+8").save("p");
            c.length("$p").is(0);
            c.free("$p");
        });
        c.intact("a", 64, 0xaa);
        c.length("$b").is(4096);
    });
    book.case("forged prefix: one block's for another's", reason, |c| {
        c.filled("a", 64, 0xaa);
        c.filled("b", 40, 0xbb);
        c.filled("c", 48, 0xcc);
        c.peek("$a-8").save("prefix");
        c.store_u64("$b-8", "$prefix");
        c.length("$b").either(40, 0);
        c.free("$b");
        c.intact("a", 64, 0xaa);
        c.intact("c", 48, 0xcc);
        c.filled("d", 40, 0xdd);
        c.intact("a", 64, 0xaa);
        c.intact("c", 48, 0xcc);
    });
    book.case("forged prefix: a freed block's", reason, |c| {
        c.block("a", 64);
        c.peek("$a-8").save("prefix");
        c.free("$a");
        c.store_u64("$a-8", "$prefix");
        c.length("$a").is(0);
        c.free("$a");
        c.filled("b", 64, 0xbb);
        c.store_u64("$a-8", "$prefix");
        c.length("$a").is(0);
        c.intact("b", 64, 0xbb);
    });
    book.case("forged prefix: in fresh space", reason, |c| {
        c.filled("a", 64, 0xaa);
        c.peek("$a-8").save("prefix");
        c.store_u64("$a+1000", "$prefix");
        c.length("$a+1008").is(0);
        c.free("$a+1008");
        c.block("b", 2000);
        c.length("$a+1008").is(0);
        c.intact("a", 64, 0xaa);
    });
    book.case("forged prefix: a length in front", reason, |c| {
        c.block("a", 256);
        for value in [8, 16, 1 << 32, (64 << 32) | 1, (1 << 63) | 64, u64::MAX] {
            c.store_u64("$a", value);
            c.store_u64("$a+8", value);
            c.store_u64("$a+16", value);
            c.length("$a+8").is(0);
            c.length("$a+16").is(0);
            c.length("$a+24").is(0);
            c.free("$a+24");
        }
        c.length("$a").is(256);
    });
}

/// A plugin that stores over everything that it reaches.
fn stores_everywhere(book: &mut Book) {
    for (name, value) in [
        ("zeros", "0".to_owned()),
        ("ones", u64::MAX.to_string()),
        ("its first handle", "$a".into()),
        ("each address", "$p".into()),
        ("the memory's size", "$end".into()),
        ("a size and a flag", ((1u64 << 40) | 1).to_string()),
    ] {
        book.case(
            format!("stores everywhere: {name}"),
            "no store changes what is trusted: no trap, no false range, no overlap, and reset makes all as new",
            |c| {
                c.learn_first();
                c.filled("a", 64, 0xaa);
                c.filled("b", 1000, 0xbb);
                c.filled("c", 20_000, 0xcc);
                c.free("$b");
                c.output_set("$a", 64);
                c.error_set("$c");
                c.value(0).save("p");
                c.repeat(PAGE / 8, |c| {
                    c.store_u64("$p", value.as_str());
                    c.value("$p+8").save("p");
                });
                c.length("$a").either(64, 0);
                c.length("$b").is(0);
                c.length("$c").either(20_000, 0);
                c.named("output", "$a", 64);
                c.error_get().is("$c");
                c.ranges_inside("$c");
                c.free("$c");
                c.filled("d", 500, 0xdd);
                c.filled("e", 60_000, 0xee);
                c.filled("f", 8, 0xff);
                c.intact("d", 500, 0xdd);
                c.intact("e", 60_000, 0xee);
                c.intact("f", 8, 0xff);
                c.reset();
                c.read_all("$a", 20_000, 0);
                c.as_new();
            },
        );
    }
}

/// A host that writes where it should not.
fn scribbling_hosts(book: &mut Book) {
    let reason = "a host may write anywhere: no trap, no endless loop, no range outside of the memory, and reset makes all as new";
    for (name, from, length, byte) in [
        ("zeros over all", "0", "$end", 0),
        ("ones over all", "0", "$end", 0xff),
        ("0x01 over all", "0", "$end", 1),
        ("0x08 over all", "0", "$end", 8),
        ("0x10 over all", "0", "$end", 0x10),
        ("0x7f over all", "0", "$end", 0x7f),
        ("0x80 over all", "0", "$end", 0x80),
        ("0xfe over all", "0", "$end", 0xfe),
        ("zeros at 0", "0", "64", 0),
        ("ones at 0", "0", "64", 0xff),
        ("0x20 at 0", "0", "64", 0x20),
        ("zeros at the end", "$end-4096", "4096", 0),
        ("ones at the end", "$end-4096", "4096", 0xff),
        ("0x18 at the end", "$end-4096", "4096", 0x18),
    ] {
        book.case(format!("scribbling host: {name}"), reason, |c| {
            prepare(c);
            c.write_all(from, length, byte);
            survive(c);
        });
    }
    for (name, value) in [
        ("a handle", "$a"),
        ("a freed handle", "$b"),
        ("each word's address", "$p"),
        ("the next word's address", "$p+8"),
        ("the word before's address", "$p-8"),
        ("the memory's size", "$end"),
        ("the last word", "$end-8"),
    ] {
        book.case(format!("scribbling host: {name} everywhere"), reason, |c| {
            prepare(c);
            c.value(0).save("p");
            c.repeat(PAGE / 8, |c| {
                c.poke("$p", value);
                c.value("$p+8").save("p");
            });
            survive(c);
        });
    }
    book.case(
        "scribbling host: after a failed alloc",
        "hosts do write at address 0 when an alloc failed",
        |c| {
            c.spare(0);
            c.learn_first();
            c.filled("a", 64, 0xaa);
            c.block("b", 64);
            c.free("$b");
            c.alloc(100_000).is(0);
            c.write_all(0, 2000, 0x61);
            c.input_set(0, 100_000);
            c.input_length().is(0);
            c.ranges_inside("$a");
            for n in [8, 1000, 65_000] {
                c.alloc(n);
            }
            c.reset();
            c.as_new();
        },
    );
    book.case(
        "scribbling host: reset cures it again and again",
        reason,
        |c| {
            c.spare(3);
            c.learn_first();
            for byte in [0, 0x08, 0x40, 0xff] {
                c.block("a", 3000);
                c.write_all(0, "$end", byte);
                c.alloc(100);
                c.reset();
                c.block("d", 3000);
                c.read_all("$d", 3000, 0);
                c.length("$d").is(3000);
                c.reset();
            }
            c.as_new();
        },
    );

    /// Blocks in every state: live, named, freed, merged, freed last.
    fn prepare(c: &mut Script) {
        c.spare(3);
        c.learn_first();
        c.block("a", 64);
        c.block("b", 1000);
        c.block("c", 20_000);
        c.block("d", 20_000);
        c.block("e", 8);
        c.free("$c");
        c.free("$d");
        c.block("whole", 40_000);
        c.free("$whole");
        c.free("$b");
        c.input_set("$a", 64);
        c.output_set("$a", 64);
        c.error_set("$e");
    }

    /// Whatever has become of them.
    fn survive(c: &mut Script) {
        c.ranges_inside("$a");
        c.input_load_u64(8);
        for name in ["$a", "$b", "$c", "$d", "$e", "$first"] {
            c.length(name).save("length");
            c.inside(name, "$length");
            c.free(name);
            c.ranges_inside(name);
        }
        for n in [1, 64, 1000, 30_000, 70_000, 8] {
            c.repeat(20, |c| {
                c.alloc(n).save("x");
                c.length("$x").save("length");
                c.inside("$x", "$length");
                c.alloc(24).save("y");
                c.free("$x");
                c.free("$y");
            });
        }
        c.ranges_inside("$x");
        c.load_u64("$a");
        c.store_u64("$a", 5);
        c.error_set(0);
        c.reset();
        c.read_all("$a", 40_000, 0);
        c.as_new();
    }
}
