//! Section 2: alloc, growth, and what bookkeeping costs.

use super::{Book, PAGE, SIZES, Script};

pub(super) fn cases(book: &mut Book) {
    impossible_sizes(book);
    failure(book);
    growth(book);
    foreign_pages(book);
    costs(book);
    disjoint(book);
}

fn impossible_sizes(book: &mut Book) {
    let sizes = [
        ("0", 0),
        ("2^32", 1 << 32),
        ("2^32+1", (1 << 32) + 1),
        ("2^32+8", (1 << 32) + 8),
        ("2^32+65536", (1 << 32) + PAGE),
        ("2^33", 1 << 33),
        ("2^48", 1 << 48),
        ("2^63-1", (1 << 63) - 1),
        ("2^63", 1 << 63),
        ("2^63+8", (1 << 63) + 8),
        ("2^64-65536", u64::MAX - 65535),
        ("2^64-32", u64::MAX - 31),
        ("2^64-16", u64::MAX - 15),
        ("2^64-8", u64::MAX - 7),
        ("2^64-1", u64::MAX),
    ];
    for (name, n) in sizes {
        book.case(
            format!("impossible sizes: {name}"),
            "any u64 is a legal argument of alloc: 0 and what no memory can hold answer 0 and change nothing",
            |c| {
                c.filled("a", 100, 0xaa);
                c.memory_bytes().save("bytes");
                c.alloc(n).is(0);
                c.grown(0);
                c.memory_bytes().is("$bytes");
                c.intact("a", 100, 0xaa);
                c.filled("b", 100, 0xbb);
                c.intact("a", 100, 0xaa);
                c.intact("b", 100, 0xbb);
            },
        );
    }
}

fn failure(book: &mut Book) {
    let reason = "alloc answers 0 if the memory can't be had, and changes nothing";
    for (name, n) in [
        ("4 MiB", 64 * PAGE),
        ("2^31", 1 << 31),
        ("2^32-65536", (1 << 32) - PAGE),
        ("2^32-1", (1 << 32) - 1),
    ] {
        book.case(format!("failed growth: {name}"), reason, |c| {
            c.spare(3);
            c.filled("a", 100, 0xaa);
            c.memory_bytes().save("bytes");
            c.alloc(n).is(0);
            c.grown(0);
            c.memory_bytes().is("$bytes");
            c.intact("a", 100, 0xaa);
            c.filled("b", 3 * PAGE, 0xbb);
            c.intact("a", 100, 0xaa);
            c.intact("b", 3 * PAGE, 0xbb);
        });
    }
    book.case("failed growth: again and again", reason, |c| {
        c.spare(0);
        c.filled("a", 40_000, 0xaa);
        c.block("b", 8);
        c.use_up();
        c.repeat(100, |c| {
            c.alloc(100).is(0);
        });
        c.grown(0);
        c.intact("a", 40_000, 0xaa);
        c.free("$a");
        c.alloc(40_000).is("$a");
    });
    book.case("failed growth: freed data stays", reason, |c| {
        c.spare(0);
        c.filled("a", 20_000, 0xaa);
        c.block("b", 20_000);
        c.use_up();
        c.free("$a");
        c.alloc(60_000).is(0);
        c.read_all("$a", 20_000, 0xaa);
        c.length("$b").is(20_000);
    });
    book.case("failed growth: registers stay", reason, |c| {
        c.spare(0);
        c.block("a", 100);
        c.input_set("$a", 60);
        c.output_set("$a+8", 50);
        c.error_set("$a+16");
        c.alloc(64 * PAGE).is(0);
        c.named("input", "$a", 60);
        c.named("output", "$a+8", 50);
        c.error_get().is("$a+16");
    });
    book.case(
        "failed growth: a limit reached",
        "under a limit, everything below it can be used",
        |c| {
            c.spare(1);
            c.repeat(2000, |c| {
                c.alloc(1000);
            });
            c.grown(1);
            c.alloc(1000).is(0);
        },
    );
}

fn growth(book: &mut Book) {
    let reason = "growth asks for exactly the pages that this allocation needs";
    for pages in [1, 2, 3, 16, 160] {
        book.case(format!("growth: {pages} pages at once"), reason, |c| {
            c.memory_bytes().save("bytes");
            c.block("a", pages * PAGE);
            c.grown(pages);
            c.memory_bytes().is(format!("$bytes+{}", pages * PAGE));
            c.store_u8(format!("$a+{}", pages * PAGE - 1), 0x7f);
            c.load_u8(format!("$a+{}", pages * PAGE - 1)).is(0x7f);
        });
    }
    book.case("growth: page by page", reason, |c| {
        for (name, pages) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            c.filled(name, 60_000, 0xaa + pages);
            c.grown(pages - 1);
        }
        for (name, pages) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            c.intact(name, 60_000, 0xaa + pages);
        }
    });
    book.case(
        "growth: what is left of a page counts",
        "ten blocks of a page each need ten pages, and the eleventh for what they cost beside their data",
        |c| {
            c.repeat(10, |c| {
                c.alloc(PAGE).not(0);
            });
            c.grown(10);
        },
    );
    book.case("growth: by little blocks", reason, |c| {
        c.memory_bytes().save("bytes");
        // 64 KiB of data, at most 192 KiB with bookkeeping.
        c.repeat(4096, |c| {
            c.alloc(16).not(0);
        });
        c.value("$end")
            .at_least("$start+65536")
            .below("$start+196609");
        c.memory_bytes().at_least("$bytes+65536");
    });
    book.case(
        "growth: data stays",
        "a block's bytes are where its handle says, however often the memory grows",
        |c| {
            c.filled("a", 1000, 0x5a);
            c.input_set("$a", 1000);
            for pages in 1..5 {
                c.block("b", pages * PAGE);
            }
            c.intact("a", 1000, 0x5a);
            c.input_load_u64(992).is(0x5a5a_5a5a_5a5a_5a5a);
        },
    );
    book.case(
        "memory_bytes: the start",
        "the heap owns the first page from the start",
        |c| {
            c.memory_bytes().at_least(60_000).below(PAGE + 1);
        },
    );
    book.case(
        "memory_bytes: 65536 a page",
        "it grows by 65536 a page",
        |c| {
            c.memory_bytes().save("bytes");
            c.block("a", PAGE);
            c.memory_bytes().is("$bytes+65536");
            c.block("b", 3 * PAGE);
            c.memory_bytes().is("$bytes+262144");
        },
    );
    book.case(
        "memory_bytes: not reduced",
        "memory is never given back, neither by free nor by reset",
        |c| {
            c.block("a", 2 * PAGE);
            c.memory_bytes().save("bytes");
            c.free("$a");
            c.memory_bytes().is("$bytes");
            c.reset();
            c.memory_bytes().is("$bytes");
            c.alloc(2 * PAGE).is("$a");
            c.memory_bytes().is("$bytes");
            c.grown(2);
        },
    );
    book.case(
        "memory_bytes: ordinary calls",
        "nothing but growth changes it",
        |c| {
            c.memory_bytes().save("bytes");
            c.block("a", 1000);
            c.input_set("$a", 1000);
            c.output_set("$a", 1000);
            c.error_set("$a");
            c.memory_bytes().is("$bytes");
        },
    );
}

/// Pages that the host, or another part of the engine, has added.
fn foreign_pages(book: &mut Book) {
    fn add(c: &mut Script, pages: u64) {
        c.value("$end").save("foreign");
        c.grow(pages);
        c.write_all("$foreign", pages * PAGE, 0xee);
    }
    let reason = "growth may come back not contiguous: only pages that are declared or were granted are handed out";
    book.case("foreign pages: at the start", reason, |c| {
        add(c, 2);
        c.memory_bytes().below(PAGE + 1).save("bytes");
        c.filled("a", 1000, 0xaa);
        c.filled("b", 100_000, 0xbb);
        c.filled("c", 100_000, 0xcc);
        c.read_all("$foreign", 2 * PAGE, 0xee);
        c.intact("a", 1000, 0xaa);
        c.intact("b", 100_000, 0xbb);
        c.intact("c", 100_000, 0xcc);
        c.memory_bytes().at_least("$bytes+196608");
    });
    book.case("foreign pages: later", reason, |c| {
        c.filled("a", 100_000, 0xaa);
        c.filled("b", 1000, 0xbb);
        add(c, 3);
        c.filled("c", 100_000, 0xcc);
        c.free("$b");
        c.filled("d", 200_000, 0xdd);
        c.read_all("$foreign", 3 * PAGE, 0xee);
        c.intact("a", 100_000, 0xaa);
        c.intact("c", 100_000, 0xcc);
        c.intact("d", 200_000, 0xdd);
    });
    book.case("foreign pages: little blocks", reason, |c| {
        c.filled("a", 100, 0xaa);
        add(c, 1);
        c.repeat(5000, |c| {
            c.filled("b", 20, 0xbb);
        });
        c.read_all("$foreign", PAGE, 0xee);
        c.intact("a", 100, 0xaa);
        c.intact("b", 20, 0xbb);
    });
    book.case("foreign pages: free space before them", reason, |c| {
        c.block("a", 60_000);
        add(c, 1);
        c.block("b", 60_000);
        c.grown(2);
        c.free("$a");
        c.alloc(60_000).is("$a");
        c.grown(2);
    });
    book.case(
        "foreign pages: memory_bytes",
        "memory_bytes is what the heap owns; pages that somebody else added are not in it",
        |c| {
            c.memory_bytes().save("bytes");
            c.grow(2);
            c.memory_bytes().is("$bytes");
        },
    );
    book.case(
        "foreign pages: loads and stores",
        "pages of somebody else are outside of the heap",
        |c| {
            add(c, 1);
            c.load_u8("$foreign").is(0);
            c.load_u64("$foreign+8").is(0);
            c.load_u64("$foreign+65528").is(0);
            c.store_u8("$foreign", 1);
            c.store_u64("$foreign+65528", 1);
            c.block("a", 100_000);
            c.load_u64("$foreign+8").is(0);
            c.store_u64("$foreign+8", 1);
            c.read_all("$foreign", PAGE, 0xee);
        },
    );
    book.case(
        "foreign pages: input, output, error",
        "pages of somebody else are outside of the heap",
        |c| {
            add(c, 1);
            c.block("a", 100_000);
            c.input_set("$foreign+8", 8);
            c.output_set("$foreign+8", 8);
            c.error_set("$foreign+8");
            c.named("input", 0, 0);
            c.named("output", 0, 0);
            c.error_get().is(0);
        },
    );
    book.case(
        "foreign pages: reset",
        "reset zeroes what was used, and pages of somebody else never were",
        |c| {
            c.learn_first();
            add(c, 2);
            c.filled("b", 100_000, 0xbb);
            c.reset();
            c.read_all("$foreign", 2 * PAGE, 0xee);
            c.read_all("$b", 100_000, 0);
            c.as_new();
        },
    );
}

fn costs(book: &mut Book) {
    let reason = "bookkeeping costs at most 32 bytes a block";
    for (n, blocks) in [(8, 1600), (16, 1300), (100, 470), (1000, 61)] {
        book.case(format!("bookkeeping: blocks of {n} bytes"), reason, |c| {
            c.repeat(blocks, |c| {
                c.alloc(n).not(0);
            });
            c.grown(0);
        });
    }
    book.case(
        "bookkeeping: a call of 20 KB",
        "one page serves an ordinary call",
        |c| {
            c.error_set(0);
            c.reset();
            c.filled("input", 20_000, 0x11);
            c.input_set("$input", 20_000);
            c.filled("value", 20_000, 0x22);
            c.filled("output", 20_000, 0x33);
            c.output_set("$output", 20_000);
            c.grown(0);
            c.intact("input", 20_000, 0x11);
            c.intact("value", 20_000, 0x22);
            c.intact("output", 20_000, 0x33);
        },
    );
}

fn disjoint(book: &mut Book) {
    for n in SIZES {
        book.case(
            format!("live blocks: {n} bytes"),
            "each has its own bytes, and exactly the length asked for",
            |c| {
                c.filled("a", n, 0xaa);
                c.filled("b", n, 0xbb);
                c.filled("c", n, 0xcc);
                c.intact("a", n, 0xaa);
                c.intact("b", n, 0xbb);
                c.intact("c", n, 0xcc);
                c.free("$b");
                c.length("$b").is(0);
                c.intact("a", n, 0xaa);
                c.intact("c", n, 0xcc);
            },
        );
    }
    book.case(
        "live blocks: ten thousand",
        "alloc, free and length take constant time, whatever the number of blocks",
        |c| {
            c.block("first", 8);
            c.repeat(10_000, |c| {
                c.block("last", 8);
            });
            c.repeat(10_000, |c| {
                c.length("$first").is(8);
                c.length("$last").is(8);
                c.length("$last+1").is(0);
            });
            c.free("$first");
            c.free("$last");
            c.length("$first").is(0);
            c.length("$last").is(0);
        },
    );
    book.case(
        "live blocks: ten thousand freed",
        "alloc, free and length take constant time, whatever the number of blocks",
        |c| {
            c.repeat(10_000, |c| {
                c.block("a", 24);
                c.free("$a");
                c.length("$a").is(0);
            });
            c.filled("b", 24, 0xbb);
            c.intact("b", 24, 0xbb);
        },
    );
}
