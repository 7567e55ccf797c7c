//! Section 2: free and length.

use super::{Book, EDGES};

pub(super) fn cases(book: &mut Book) {
    free(book);
    freed_bytes(book);
    named_blocks(book);
    length(book);
}

fn free(book: &mut Book) {
    book.case("free: a live block", "free releases the block", |c| {
        c.block("a", 16);
        c.free("$a");
        c.length("$a").is(0);
        c.length_unsafe("$a").is(0);
    });
    let reason = "for 0, an interior offset or garbage free does nothing";
    book.case("free: 0", reason, |c| {
        c.filled("a", 16, 0xaa);
        c.free(0);
        c.intact("a", 16, 0xaa);
    });
    for delta in ["+1", "+7", "+8", "+15", "+16", "-1", "-4", "-8", "-16"] {
        book.case(format!("free: handle{delta}"), reason, |c| {
            c.filled("before", 16, 0xbb);
            c.filled("a", 32, 0xaa);
            c.filled("behind", 16, 0xcc);
            c.free(format!("$a{delta}"));
            c.intact("before", 16, 0xbb);
            c.intact("a", 32, 0xaa);
            c.intact("behind", 16, 0xcc);
        });
    }
    for (name, delta) in [("2^32", 1u64 << 32), ("2^63", 1 << 63)] {
        book.case(format!("free: handle+{name}"), reason, |c| {
            c.filled("a", 16, 0xaa);
            c.free(format!("$a+{delta}"));
            c.intact("a", 16, 0xaa);
        });
    }
    book.case("free: edges of u64", reason, |c| {
        c.filled("a", 16, 0xaa);
        for edge in EDGES {
            c.free(edge);
        }
        c.free("$end");
        c.free("$end-8");
        c.intact("a", 16, 0xaa);
    });
    book.case("free: inside of larger data", reason, |c| {
        c.block("a", 4096);
        c.write_all("$a", 4096, 0x18);
        c.value("$a").save("p");
        c.repeat(4095, |c| {
            c.value("$p+1").save("p");
            c.free("$p");
        });
        c.intact("a", 4096, 0x18);
    });
    book.case(
        "free: twice",
        "a block already free isn't freed again",
        |c| {
            c.spare(0);
            c.block("a", 1000);
            c.use_up();
            c.free("$a");
            c.free("$a");
            c.alloc(1000).is("$a");
            c.alloc(1000).is(0);
            c.length("$a").is(1000);
        },
    );
    book.case(
        "free: three times",
        "a block already free isn't freed again",
        |c| {
            c.block("a", 50_000);
            c.repeat(3, |c| {
                c.free("$a");
                c.length("$a").is(0);
            });
            c.filled("b", 50_000, 0xbb);
            c.filled("c", 50_000, 0xcc);
            c.intact("b", 50_000, 0xbb);
            c.intact("c", 50_000, 0xcc);
        },
    );
    book.case(
        "free: others stay",
        "free releases only the block that starts exactly there",
        |c| {
            for (name, byte) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
                c.filled(name, 30, byte);
            }
            c.free("$b");
            c.free("$d");
            c.intact("a", 30, 1);
            c.intact("c", 30, 3);
            c.length("$b").is(0);
            c.length("$d").is(0);
        },
    );
}

fn freed_bytes(book: &mut Book) {
    let reason = "free leaves every byte of the data as it was until the block is handed out again";
    for n in [1, 8, 16, 24, 100, 5000, 100_000] {
        book.case(format!("freed data: {n} bytes"), reason, |c| {
            c.filled("a", n, 0xa5);
            c.free("$a");
            c.read_all("$a", n, 0xa5);
            c.load_u8("$a").is(0xa5);
        });
    }
    book.case("freed data: neighbours freed", reason, |c| {
        for (name, byte) in [("a", 0xa1), ("b", 0xb2), ("c", 0xc3)] {
            c.filled(name, 64, byte);
        }
        for name in ["b", "a", "c"] {
            c.free(format!("${name}"));
        }
        for (name, byte) in [("a", 0xa1), ("b", 0xb2), ("c", 0xc3)] {
            c.read_all(format!("${name}"), 64, byte);
        }
    });
    book.case("freed data: another block allocated", reason, |c| {
        c.filled("a", 64, 0xa1);
        c.free("$a");
        c.filled("b", 64, 0xb2);
        c.read_all("$a", 64, 0xa1);
    });
    book.case(
        "freed data: an argument read after its free",
        "rust-pdk plugins read an argument after its free",
        |c| {
            c.block("a", 11);
            c.write("$a", "68656c6c6f20776f726c64");
            c.length("$a").is(11);
            c.free("$a");
            c.load_u64("$a").is(0x6f77_206f_6c6c_6568);
            c.load_u8("$a+8").is(0x72);
            c.load_u8("$a+10").is(0x64);
        },
    );
}

/// Blocks that are input, output or error.
fn named_blocks(book: &mut Book) {
    book.case(
        "free of the input: freed",
        "freeing the current input frees it and sets input_length to 0; the offset stays",
        |c| {
            c.filled("a", 16, 0xaa);
            c.input_set("$a", 16);
            c.free("$a");
            c.named("input", "$a", 0);
            c.length("$a").is(0);
            c.input_load_u8(0).is(0);
            c.input_load_u64(0).is(0);
            c.read_all("$a", 16, 0xaa);
        },
    );
    book.case(
        "free of the input: another block",
        "freeing another block leaves the input alone",
        |c| {
            c.filled("a", 16, 0xaa);
            c.block("b", 16);
            c.input_set("$a", 16);
            c.free("$b");
            c.free("$a+8");
            c.free(0);
            c.named("input", "$a", 16);
            c.input_load_u8(15).is(0xaa);
        },
    );
    book.case(
        "free of the input: no longer the input",
        "only the current input counts",
        |c| {
            c.block("a", 16);
            c.block("b", 16);
            c.input_set("$a", 16);
            c.input_set("$b", 16);
            c.free("$a");
            c.named("input", "$b", 16);
            c.length("$a").is(0);
        },
    );
    let reason =
        "freeing the current output is put off: the block stays live until it is output no more";
    book.case("free of the output: put off", reason, |c| {
        c.filled("a", 16, 0xaa);
        c.output_set("$a", 16);
        c.free("$a");
        c.free("$a");
        c.intact("a", 16, 0xaa);
        c.named("output", "$a", 16);
    });
    book.case("free of the output: a shorter output", reason, |c| {
        c.filled("a", 16, 0xaa);
        c.output_set("$a", 3);
        c.free("$a");
        c.intact("a", 16, 0xaa);
        c.named("output", "$a", 3);
    });
    book.case("free of the output: not handed out again", reason, |c| {
        c.spare(0);
        c.filled("a", 1000, 0xaa);
        c.use_up();
        c.output_set("$a", 1000);
        c.free("$a");
        c.alloc(1000).is(0);
        c.intact("a", 1000, 0xaa);
    });
    book.case("free of the output: until another is set", reason, |c| {
        c.block("a", 16);
        c.block("b", 16);
        c.output_set("$a", 16);
        c.output_set("$b", 16);
        c.free("$a");
        c.length("$a").is(0);
        c.length("$b").is(16);
    });
    book.case(
        "free of the output: released by another output",
        reason,
        |c| {
            c.block("a", 16);
            c.block("b", 16);
            c.output_set("$a", 16);
            c.free("$a");
            c.length("$a").is(16);
            c.output_set("$b", 16);
            c.length("$a").is(0);
            c.length("$b").is(16);
        },
    );
    book.case(
        "free of the output: released by an empty one elsewhere",
        reason,
        |c| {
            c.block("a", 16);
            c.output_set("$a", 16);
            c.free("$a");
            c.output_set("$a+8", 0);
            c.length("$a").is(0);
        },
    );
    book.case(
        "free of the output: refused outputs release nothing",
        reason,
        |c| {
            c.filled("a", 16, 0xaa);
            c.output_set("$a", 16);
            c.free("$a");
            c.output_set(0, 0);
            c.output_set("$a", "$end");
            c.intact("a", 16, 0xaa);
            c.named("output", "$a", 16);
        },
    );
    book.case(
        "free of the output: taken back",
        "setting the same block again takes the free back",
        |c| {
            c.filled("a", 16, 0xaa);
            c.block("b", 16);
            c.output_set("$a", 16);
            c.free("$a");
            c.output_set("$a", 4);
            c.output_set("$b", 16);
            c.intact("a", 16, 0xaa);
        },
    );
    book.case(
        "free of the output: error too",
        "a block that is both is released when it is neither",
        |c| {
            c.block("a", 16);
            c.block("b", 16);
            c.output_set("$a", 16);
            c.error_set("$a");
            c.free("$a");
            c.output_set("$b", 16);
            c.length("$a").is(16);
            c.error_set(0);
            c.length("$a").is(0);
        },
    );
    book.case("free of the output: until reset", reason, |c| {
        c.block("a", 16);
        c.output_set("$a", 16);
        c.free("$a");
        c.reset();
        c.length("$a").is(0);
        c.alloc(16).is("$a");
        c.free("$a");
        c.length("$a").is(0);
    });
    book.case(
        "free of the output: a slice of a block",
        "the handle must equal output_offset; data freed under a slice stays until it is handed out again",
        |c| {
            c.filled("a", 16, 0xaa);
            c.output_set("$a+8", 4);
            c.free("$a");
            c.length("$a").is(0);
            c.named("output", "$a+8", 4);
            c.read_all("$a+8", 4, 0xaa);
        },
    );
    let reason = "freeing the current error is put off: the host reads its text after the call";
    book.case("free of the error: put off", reason, |c| {
        c.filled("a", 16, 0x65);
        c.error_set("$a");
        c.free("$a");
        c.free("$a");
        c.error_get().is("$a");
        c.intact("a", 16, 0x65);
    });
    book.case("free of the error: not handed out again", reason, |c| {
        c.spare(0);
        c.filled("a", 1000, 0x65);
        c.use_up();
        c.error_set("$a");
        c.free("$a");
        c.alloc(1000).is(0);
        c.intact("a", 1000, 0x65);
    });
    book.case("free of the error: until it is cleared", reason, |c| {
        c.block("a", 16);
        c.error_set("$a");
        c.error_set(0);
        c.free("$a");
        c.length("$a").is(0);
    });
    book.case("free of the error: until another is set", reason, |c| {
        c.block("a", 16);
        c.block("b", 16);
        c.error_set("$a");
        c.error_set("$b");
        c.free("$a");
        c.length("$a").is(0);
        c.free("$b");
        c.length("$b").is(16);
    });
    book.case(
        "free of the error: released when it is cleared",
        reason,
        |c| {
            c.block("a", 16);
            c.error_set("$a");
            c.free("$a");
            c.length("$a").is(16);
            c.error_set(0);
            c.length("$a").is(0);
            c.error_get().is(0);
        },
    );
    book.case("free of the error: released by another", reason, |c| {
        c.block("a", 16);
        c.block("b", 16);
        c.error_set("$a");
        c.free("$a");
        c.error_set("$b");
        c.length("$a").is(0);
        c.length("$b").is(16);
    });
    book.case(
        "free of the error: taken back",
        "setting the same block again takes the free back",
        |c| {
            c.filled("a", 16, 0x65);
            c.error_set("$a");
            c.free("$a");
            c.error_set("$a");
            c.error_set(0);
            c.intact("a", 16, 0x65);
        },
    );
    book.case("free of the error: until reset", reason, |c| {
        c.block("a", 16);
        c.error_set("$a");
        c.reset();
        c.alloc(16).is("$a");
        c.free("$a");
        c.length("$a").is(0);
    });
}

fn length(book: &mut Book) {
    book.case(
        "length: 1 to 64",
        "length is the exact number of bytes asked for, not rounded",
        |c| {
            for n in 1..=64 {
                c.block("a", n);
                c.length("$a").is(n);
                c.length_unsafe("$a").is(n);
            }
        },
    );
    for n in [255, 1023, 4097, 65_535, 65_537, 1_000_001] {
        book.case(
            format!("length: {n}"),
            "length is the exact number of bytes asked for, not rounded",
            |c| {
                c.block("a", n);
                c.length("$a").is(n);
                c.length_unsafe("$a").is(n);
            },
        );
    }
    book.case(
        "length: of a reused block",
        "length is the number of bytes asked for last",
        |c| {
            c.block("a", 65_535);
            for n in [65_535, 65_530, 65_521, 65_512] {
                c.free("$a");
                c.alloc(n).is("$a");
                c.length("$a").is(n);
            }
        },
    );
    let reason =
        "length and length_unsafe are 0 for anything that is not the start of a live block";
    for delta in [
        "+1", "+4", "+7", "+8", "+16", "+24", "+32", "-1", "-4", "-8",
    ] {
        book.case(format!("length: handle{delta}"), reason, |c| {
            c.filled("a", 32, 0x20);
            c.length(format!("$a{delta}")).is(0);
            c.length_unsafe(format!("$a{delta}")).is(0);
            c.length("$a").is(32);
        });
    }
    for (name, delta) in [
        ("2^32", 1u64 << 32),
        ("2^33", 1 << 33),
        ("2^48", 1 << 48),
        ("2^63", 1 << 63),
    ] {
        book.case(format!("length: handle+{name}"), reason, |c| {
            c.block("a", 16);
            c.length(format!("$a+{delta}")).is(0);
            c.length_unsafe(format!("$a+{delta}")).is(0);
        });
    }
    book.case("length: edges of u64", reason, |c| {
        c.block("a", 16);
        c.length(0).is(0);
        c.length_unsafe(0).is(0);
        for edge in EDGES {
            c.length(edge).is(0);
            c.length_unsafe(edge).is(0);
        }
    });
    book.case("length: the end of memory", reason, |c| {
        c.block("a", 16);
        for delta in ["", "+8", "-1", "-8", "-16", "-24", "-32", "-64"] {
            c.length(format!("$end{delta}")).is(0);
            c.length_unsafe(format!("$end{delta}")).is(0);
        }
    });
    book.case("length: freed", reason, |c| {
        c.block("a", 16);
        c.block("b", 16);
        c.free("$a");
        c.length("$a").is(0);
        c.length_unsafe("$a").is(0);
        c.length("$b").is(16);
        c.length_unsafe("$b").is(16);
    });
    book.case("length: every other offset", reason, |c| {
        c.block("a", 2048);
        c.write_all("$a", 2048, 8);
        c.value("$a").save("p");
        c.repeat(2047, |c| {
            c.value("$p+1").save("p");
            c.length("$p").is(0);
        });
        c.length("$a").is(2048);
    });
}
