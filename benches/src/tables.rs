//! The READMEs' tables, from the CSVs in `results/`. Used by `report`, which puts them there, and by `tests/figures.rs`, which checks
//! that they are there; so it uses nothing but the standard library.

use std::{fs, path::Path};

/// The goal beside allocators: this much of their time.
const ALLOCATORS: f64 = 1.5;

/// The rows of a CSV without its comment and the names of its columns. Fields may be quoted, but hold no quotes.
pub fn read(folder: &Path, name: &str) -> Vec<Vec<String>> {
    let path = folder.join(name).with_extension("csv");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let fields = |line: &str| {
        let mut quoted = false;
        let split = line.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        split
            .map(|field| field.trim_matches('"').to_owned())
            .collect()
    };
    text.lines().skip(2).map(fields).collect()
}

fn number(field: &str) -> f64 {
    field
        .parse()
        .unwrap_or_else(|_| panic!("{field:?} is no number"))
}

/// Nanoseconds with three digits and a unit.
fn duration(ns: &str) -> String {
    let ns = number(ns);
    let (value, unit) = match ns {
        ns if ns < 1e3 => return format!("{ns:.0} ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// Bytes with a unit.
fn size(bytes: &str) -> String {
    match number(bytes) {
        bytes if bytes < 1024.0 => format!("{bytes} B"),
        bytes if bytes < 1024.0 * 1024.0 => format!("{:.0} KiB", bytes / 1024.0),
        bytes => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
    }
}

/// A ratio so that what is small isn't shown as nothing.
fn ratio(value: &str) -> String {
    match number(value) {
        value if value < 0.0015 => "≤ 0.001".into(),
        value if value < 0.1 => format!("{value:.3}"),
        value => format!("{value:.2}"),
    }
}

/// A ratio with its quartiles, bold if it misses the goal.
fn judged(fields: &[String], goal: f64) -> String {
    let text = ratio(&fields[0]);
    let text = if number(&fields[0]) > goal {
        format!("**{text}**")
    } else {
        text
    };
    format!("{text} ({} – {})", ratio(&fields[1]), ratio(&fields[2]))
}

/// Times on Wasmtime and V8.
fn time(folder: &Path) -> String {
    let mut table = "| | goal | Wasmtime: this | peer | ratio (quartiles) | V8: this | peer | ratio (quartiles) |\n\
                     |---|---:|---:|---:|---:|---:|---:|---:|\n".to_owned();
    for (a, b) in read(folder, "wasmtime").iter().zip(read(folder, "v8")) {
        assert_eq!(a[0], b[0], "both have the same rows");
        let goal = number(&a[6]);
        table += &format!("| {} | {} |", a[0], a[6]);
        for row in [a, &b] {
            table += &format!(
                " {} | {} | {} |",
                duration(&row[1]),
                duration(&row[2]),
                judged(&row[3..6], goal)
            );
        }
        table += "\n";
    }
    table
}

/// Times and memory beside allocators.
fn allocators(folder: &Path) -> String {
    let mut table = "| time: this / theirs; memory: this, theirs | dlmalloc | talc | rlsf |\n|---|---:|---:|---:|\n".to_owned();
    for rows in read(folder, "allocators").chunks(3) {
        table += &format!("| {} |", rows[0][0]);
        for row in rows {
            table += &format!(
                " {}; {}, {} |",
                judged(&row[4..7], ALLOCATORS),
                size(&row[7]),
                size(&row[8])
            );
        }
        table += "\n";
    }
    table
}

/// The memory that kernels hold.
fn memory(folder: &Path) -> String {
    let mut table = "| memory | live at most | this | peer | this / live | peer / live |\n|---|---:|---:|---:|---:|---:|\n".to_owned();
    for row in read(folder, "footprint") {
        let (live, relative) = if row[1].is_empty() {
            (String::new(), [String::new(), String::new()])
        } else {
            let relative = [2, 3].map(|i| format!("{:.2}", number(&row[i]) / number(&row[1])));
            (size(&row[1]), relative)
        };
        table += &format!(
            "| {} | {live} | {} | {} | {} | {} |\n",
            row[0],
            size(&row[2]),
            size(&row[3]),
            relative[0],
            relative[1]
        );
    }
    table
}

/// The ten figures that decide: a row of each of the other tables' files, by its name there.
fn figures(folder: &Path) -> String {
    let row = |file: &str, name: &str| {
        let mut rows = read(folder, file).into_iter();
        rows.find(|row| row[0] == name)
            .unwrap_or_else(|| panic!("{file}.csv has no row {name:?}"))
    };
    let mut table = "| | this | peer | ratio (quartiles) |\n|---|---:|---:|---:|\n".to_owned();
    for (file, engine, name) in [
        ("wasmtime", "Wasmtime", "whole call, 4 KiB in and out"),
        ("v8", "V8", "whole call, 4 KiB in and out"),
        ("wasmtime", "Wasmtime", "whole call, 1 MiB in and out"),
        (
            "wasmtime",
            "Wasmtime",
            "loads alternating between two blocks of 64 KiB",
        ),
        (
            "wasmtime",
            "Wasmtime",
            "200 alloc + free of 64 B, 10,000 live",
        ),
        ("wasmtime", "Wasmtime", "reset of 10 MiB"),
        ("wasmtime", "Wasmtime", "instantiation"),
    ] {
        let row = row(file, name);
        let (ours, peer) = (duration(&row[1]), duration(&row[2]));
        let ratio = judged(&row[3..6], number(&row[6]));
        table += &format!("| {engine}: {name} | {ours} | {peer} | {ratio} |\n");
    }
    let allocator = row(
        "allocators",
        "100,000 blocks replaced among 1,000 of 1 to 64 B",
    );
    table += &format!(
        "| Wasmtime: {} | {} | {}: {} | {} |\n",
        allocator[0],
        duration(&allocator[2]),
        allocator[1],
        duration(&allocator[3]),
        judged(&allocator[4..7], ALLOCATORS)
    );
    for (what, name) in [
        ("memory at the start", "at the start"),
        (
            "memory for 16 live blocks of up to 1 MiB",
            "large: 16 blocks of up to 1 MiB",
        ),
    ] {
        let row = row("footprint", name);
        let relative = number(&row[2]) / number(&row[3]);
        table += &format!(
            "| {what} | {} | {} | {relative:.2} |\n",
            size(&row[2]),
            size(&row[3])
        );
    }
    table
}

/// The tables: the README that has it, the name that its markers have (`<!-- NAME -->` above, an empty line below), and itself.
pub fn tables(folder: &Path) -> [(&'static str, &'static str, String); 4] {
    const HERE: &str = "benches/README.md";
    [
        (HERE, "time", time(folder)),
        (HERE, "allocators", allocators(folder)),
        (HERE, "memory", memory(folder)),
        ("README.md", "figures", figures(folder)),
    ]
}
