//! Section 2: which space is used next, and what becomes of freed space.

use super::{Book, Script};

pub(super) fn cases(book: &mut Book) {
    fresh_first(book);
    stale_frees(book);
    longest_freed_first(book);
    before_growth(book);
    merging(book);
}

fn fresh_first(book: &mut Book) {
    for (freed, asked) in [(1, 2), (1, 1), (2, 1), (64, 64), (1000, 8), (1000, 1000)] {
        book.case(
            format!("fresh space first: {freed} freed, {asked} asked"),
            "fresh bump space is used first, then freed blocks",
            |c| {
                c.block("p", freed);
                c.free("$p");
                c.alloc(asked).not("$p").not(0);
                c.alloc(asked).not("$p").not(0);
            },
        );
    }
}

/// Shipped plugins free a handle again after their host has freed it.
fn stale_frees(book: &mut Book) {
    let reason = "a handle that is freed a second time after another block was allocated takes that block from nobody";
    for a in [1, 8, 24, 1000] {
        for b in [1, 8, 24, 1000] {
            book.case(format!("stale free: key {a}, value {b}"), reason, |c| {
                c.block("key", a);
                c.free("$key");
                c.filled("value", b, 0x76);
                c.free("$key");
                c.intact("value", b, 0x76);
                c.block("next", b);
                c.write_all("$next", b, 0x6e);
                c.intact("value", b, 0x76);
            });
        }
    }
    for (a, b) in [(64, 64), (64, 8), (1000, 1000), (1000, 500), (1000, 8)] {
        book.case(
            format!("stale free: memory used up, key {a}, value {b}"),
            "never the block freed last while an older one fits",
            |c| {
                c.spare(0);
                c.block("old", a);
                c.block("fence", 8);
                c.block("key", a);
                c.block("fence", 8);
                c.use_up();
                c.free("$old");
                c.free("$key");
                let value = c.alloc(b).not(0).not("$key").save("value");
                if a == b {
                    value.is("$old");
                }
                c.write_all("$value", b, 0x76);
                c.free("$key");
                c.intact("value", b, 0x76);
            },
        );
    }
    book.case(
        "stale free: memory used up and merged",
        "however often memory was used up and merged before, as long as any other free space fits",
        |c| {
            c.spare(0);
            c.repeat(20, |c| {
                for name in ["a", "b", "c"] {
                    c.block(name, 15_000);
                }
                for name in ["b", "a", "c"] {
                    c.free(format!("${name}"));
                }
                c.block("whole", 45_000);
                c.free("$whole");
            });
            c.block("fence", 8);
            c.repeat(100, |c| {
                c.block("key", 100);
                c.free("$key");
                c.alloc(100).not(0).not("$key").save("value");
                c.free("$key");
                c.length("$value").is(100);
                c.free("$value");
            });
            c.length("$fence").is(8);
        },
    );
    for (a, b) in [(20, 20), (20, 21), (7, 100), (300, 40)] {
        book.case(
            format!("stale free: a long session, key {a}, value {b}"),
            "not one value is lost in a session without reset, and its memory stays bounded",
            |c| {
                c.repeat(5000, |c| {
                    c.block("key", a);
                    c.free("$key");
                    c.block("value", b);
                    c.free("$key");
                    c.length("$value").is(b);
                    c.free("$value");
                });
                c.grown(0);
            },
        );
    }
}

fn longest_freed_first(book: &mut Book) {
    /// Three blocks that can't merge, and no fresh space.
    fn three(c: &mut Script, sizes: [u64; 3]) {
        c.spare(0);
        for (name, n) in ["a", "b", "c"].iter().zip(sizes) {
            c.block(name, n);
            c.block("fence", 8);
        }
        c.use_up();
    }
    let reason = "of the freed blocks that fit, the longest-freed first";
    for order in [
        ["a", "b", "c"],
        ["a", "c", "b"],
        ["b", "a", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["c", "b", "a"],
    ] {
        book.case(
            format!("longest-freed first: {}", order.join(" ")),
            reason,
            |c| {
                three(c, [200, 200, 200]);
                for name in order {
                    c.free(format!("${name}"));
                }
                for name in order {
                    c.alloc(200).is(format!("${name}"));
                }
                c.alloc(200).is(0);
            },
        );
    }
    book.case("longest-freed first: the older is too small", reason, |c| {
        three(c, [40, 400, 400]);
        c.free("$a");
        c.free("$b");
        c.free("$c");
        c.alloc(400).is("$b");
        c.alloc(400).is("$c");
        c.alloc(40).is("$a");
    });
    book.case("longest-freed first: the older is larger", reason, |c| {
        three(c, [400, 40, 40]);
        c.free("$a");
        c.free("$b");
        c.alloc(40).not(0).not("$b");
    });
    book.case("longest-freed first: only the youngest fits", reason, |c| {
        three(c, [40, 80, 400]);
        c.free("$a");
        c.free("$b");
        c.free("$c");
        c.alloc(400).is("$c");
    });
    book.case("longest-freed first: freed again", reason, |c| {
        three(c, [200, 200, 200]);
        c.free("$a");
        c.free("$b");
        c.alloc(200).is("$a");
        c.free("$a");
        c.alloc(200).is("$b");
        c.alloc(200).is("$a");
    });
}

fn before_growth(book: &mut Book) {
    let reason = "reuse comes before growth";
    book.case("reuse before growth: the same size", reason, |c| {
        c.block("p", 65_535);
        c.value("$end").save("size");
        c.free("$p");
        c.alloc(65_535).is("$p");
        c.free("$p");
        c.alloc(65_511).is("$p");
        c.value("$end").is("$size");
    });
    for n in [100_000, 1_000_000] {
        book.case(format!("reuse before growth: {n} bytes"), reason, |c| {
            c.block("p", n);
            c.value("$end").save("size");
            c.repeat(50, |c| {
                c.free("$p");
                c.alloc(n).is("$p");
                c.length("$p").is(n);
            });
            c.value("$end").is("$size");
        });
    }
    book.case("reuse before growth: little blocks", reason, |c| {
        c.spare(0);
        c.block("a", 20_000);
        c.block("b", 40_000);
        c.free("$a");
        // With 32 bytes each for bookkeeping there is room for 12 in what was freed alone.
        c.repeat(12, |c| {
            c.alloc(1500).not(0);
        });
        c.length("$b").is(40_000);
    });
}

fn merging(book: &mut Book) {
    let reason = "neighbouring free blocks merge";
    for order in ["abc", "acb", "bac", "bca", "cab", "cba"] {
        book.case(format!("merging: three, freed as {order}"), reason, |c| {
            c.spare(0);
            for name in ["a", "b", "c"] {
                c.block(name, 20_000);
            }
            c.use_up();
            for name in order.chars() {
                c.free(format!("${name}"));
            }
            c.filled("d", 60_000, 0xdd);
            c.intact("d", 60_000, 0xdd);
            for name in ["b", "c"] {
                c.length(format!("${name}")).is(0);
            }
        });
    }
    for (first, second, kept) in [
        ("a", "b", "c"),
        ("b", "a", "c"),
        ("b", "c", "a"),
        ("c", "b", "a"),
    ] {
        book.case(
            format!("merging: two, freed as {first}{second}"),
            reason,
            |c| {
                c.spare(0);
                for name in ["a", "b", "c"] {
                    c.filled(name, 20_000, 0xab);
                }
                c.use_up();
                c.free(format!("${first}"));
                c.free(format!("${second}"));
                c.filled("d", 40_000, 0xdd);
                c.intact("d", 40_000, 0xdd);
                c.intact(kept, 20_000, 0xab);
            },
        );
    }
    book.case("merging: not across a live block", reason, |c| {
        c.spare(0);
        for name in ["a", "b", "c"] {
            c.filled(name, 20_000, 0xab);
        }
        c.block("fence", 8);
        c.use_up();
        c.free("$a");
        c.free("$c");
        c.alloc(40_000).is(0);
        c.intact("b", 20_000, 0xab);
    });
    book.case("merging: hundreds of little ones", reason, |c| {
        c.spare(0);
        c.repeat(400, |c| {
            c.block("block", 100);
            c.free("$block");
        });
        c.block("whole", 41_000);
        c.length("$whole").is(41_000);
    });
    let reason = "a session whose live data stays bounded keeps its memory bounded";
    book.case("long session: one size", reason, |c| {
        c.repeat(10_000, |c| {
            c.block("a", 1000);
            c.free("$a");
        });
        c.grown(0);
    });
    book.case("long session: mixed sizes", reason, |c| {
        c.repeat(3000, |c| {
            c.block("x", 100);
            c.block("y", 3000);
            c.free("$x");
            c.block("z", 700);
            c.free("$y");
            c.free("$z");
        });
        c.grown(0);
    });
    book.case("long session: a live block beside", reason, |c| {
        c.filled("kept", 500, 0xab);
        c.repeat(300, |c| {
            for n in [5000, 12_000, 9, 2500] {
                c.block("a", n);
                c.write_all("$a", n, 0x11);
                c.block("b", 40);
                c.free("$a");
                c.free("$b");
            }
        });
        c.grown(0);
        c.intact("kept", 500, 0xab);
    });
    book.case("long session: large blocks", reason, |c| {
        c.repeat(200, |c| {
            c.block("a", 200_000);
            c.block("b", 100_000);
            c.free("$a");
            c.free("$b");
        });
        // At most 300,000 bytes are live, and neither size always fits where the other was.
        c.value("$end").below("$start+655360");
    });
}
