//! This kernel beside allocators from crates.io, compiled to wasm behind the kernel's exports (`allocators/`): time and memory of
//! the same traces.

use artefacts::guests;
use kernel_bench::{
    folder,
    lab::Lab,
    stats::{Comparison, interleave, time},
    write_csv,
};
use std::{env, fs, path::Path};

const ALLOCATORS: [&str; 3] = ["dlmalloc", "talc", "rlsf"];
const MILLION: i32 = 1_000_000;

/// A step of a trace: a function of the plugin, with its arguments.
type Step = (&'static str, &'static [i32]);
/// What a trace is called, its repetitions, what comes before each, and what is timed.
type Trace = (&'static str, usize, &'static [Step], Step);

const TRACES: [Trace; 7] = [
    (
        "200 alloc + free of 64 B, 0 live",
        501,
        &[("begin", &[])],
        ("pairs", &[200, 64]),
    ),
    (
        "200 alloc + free of 64 B, 10,000 live",
        51,
        &[("begin", &[]), ("fill", &[10_000, 64])],
        ("pairs", &[200, 64]),
    ),
    (
        "100,000 alloc + free of 64 B in one session",
        21,
        &[("begin", &[])],
        ("pairs", &[100_000, 64]),
    ),
    (
        "5 × 10,000 allocs of 10 to 10,009 B, every third freed",
        21,
        &[("begin", &[])],
        ("thirds", &[10_000, 5]),
    ),
    // A session goes on from one repetition to the next.
    (
        "100,000 blocks replaced among 1,000 of 1 to 64 B",
        21,
        &[],
        ("session", &[1_000, MILLION / 10, 6, 1]),
    ),
    (
        "100,000 blocks replaced among 300 of 1 B to 64 KiB",
        21,
        &[],
        ("session", &[300, MILLION / 10, 16, 14]),
    ),
    (
        "8 buffers that grow by half up to 1 MiB",
        21,
        &[],
        ("growing", &[8, 1 << 20]),
    ),
];

/// Builds one of them. The stack is made small as a kernel's would be: by default it takes 16 pages.
fn build(allocator: &str) -> Vec<u8> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(allocator);
    let status = guests::cargo()
        .args([
            "rustc",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            "wasm32-unknown-unknown",
        ])
        .args(["--features", allocator, "--target-dir"])
        .arg(&target)
        .args(["--", "-C", "link-arg=-zstack-size=16384"])
        .current_dir(folder().join("allocators"))
        .status()
        .expect("cargo runs");
    assert!(
        status.success(),
        "{allocator} can't be built: is the target wasm32-unknown-unknown installed?"
    );
    fs::read(target.join("wasm32-unknown-unknown/release/allocators.wasm")).expect("cargo built it")
}

fn main() {
    let lab = Lab::new(false);
    let files = ALLOCATORS.map(build);
    let modules: Vec<_> = files.iter().map(|bytes| lab.compile(bytes)).collect();
    let kernels = || [&lab.ours].into_iter().chain(&modules);
    let mut lines = Vec::new();
    for (name, repetitions, before, (function, arguments)) in TRACES {
        let mut linked: Vec<_> = kernels()
            .map(|kernel| {
                let mut linked = lab.link(kernel);
                let before: Vec<_> = before
                    .iter()
                    .map(|(name, arguments)| linked.prepare(name, arguments))
                    .collect();
                let run = linked.prepare(function, arguments);
                (linked, before, run)
            })
            .collect();
        let times = interleave(&mut linked, repetitions, |(linked, before, run)| {
            before.iter().for_each(|step| linked.run(step));
            time(|| linked.run(run))
        });
        let ours = linked[0].0.memory_size();
        for (i, allocator) in (1..).zip(ALLOCATORS) {
            let times = Comparison::of(&times[0], &times[i]).csv();
            let theirs = linked[i].0.memory_size();
            let line = format!("\"{name}\",{allocator},{times},{ours},{theirs}");
            println!("{line}");
            lines.push(line);
        }
    }
    let columns = "trace,allocator,ours_ns,theirs_ns,ratio,lower_quartile,upper_quartile,ours_bytes,theirs_bytes";
    write_csv("allocators", "allocators", columns, &lines);
    for (allocator, bytes) in ALLOCATORS.iter().zip(&files) {
        println!("{allocator}: a module of {} bytes", bytes.len());
    }
}
