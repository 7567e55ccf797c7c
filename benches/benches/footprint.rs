//! The memory that a kernel holds: at the start, at the peak of traces, and for 10,000 instances in one process.

use kernel_bench::{lab::Lab, write_csv};
use std::{env, fs, process::Command};
use wasmtime::{Module, Store, StoreLimits, Val};

/// A trace: what it is called, and the plugin's function with its arguments.
const TRACES: [(&str, &str, &[i32]); 4] = [
    (
        "small: 1,000 blocks of 1 to 64 B",
        "session",
        &[1_000, 20_000, 6, 1],
    ),
    (
        "mixed: 300 blocks of 1 B to 64 KiB",
        "session",
        &[300, 20_000, 16, 14],
    ),
    (
        "large: 16 blocks of up to 1 MiB",
        "session",
        &[16, 20_000, 20, 2],
    ),
    (
        "growing: 8 buffers, by half at a time, up to 1 MiB",
        "growing",
        &[8, 1 << 20],
    ),
];
const INSTANCES: u64 = 10_000;

/// The argument with which this program runs itself, so that each kernel's instances have a process of their own.
const INSTANTIATE: &str = "--instantiate";

/// Bytes of memory of this process that are in RAM.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this needs Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kib
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("VmRSS: 123 kB")
}

/// Prints the resident bytes that instances take: new ones, and after a reset and two blocks of 4 KiB, written by the host.
fn instantiate(which: &str) {
    let lab = Lab::new(false);
    let kernel = if which == "peer" {
        &lab.peer
    } else {
        &lab.ours
    };
    let before = resident();
    let mut instances: Vec<_> = (0..INSTANCES).map(|_| lab.instantiate(kernel)).collect();
    let new = resident() - before;
    for (store, instance) in &mut instances {
        let call = |store: &mut Store<StoreLimits>, name: &str, arguments: &[Val]| {
            let function = instance.get_func(&mut *store, name).expect(name);
            let mut results = [Val::I64(0)];
            let count = function.ty(&*store).results().len();
            function
                .call(&mut *store, arguments, &mut results[..count])
                .expect("no trap");
            results[0].unwrap_i64()
        };
        call(store, "reset", &[]);
        for _ in 0..2 {
            let handle = call(store, "alloc", &[4096i64.into()]);
            let memory = instance.get_memory(&mut *store, "memory").expect("memory");
            memory
                .write(&mut *store, handle as usize, &[7; 4096])
                .expect("it is in the memory");
        }
    }
    println!("{} {}", new / INSTANCES, (resident() - before) / INSTANCES);
}

/// The same in a process of its own.
fn instances(which: &str) -> [u64; 2] {
    let output = Command::new(env::current_exe().expect("this program has a path"))
        .args([INSTANTIATE, which])
        .output()
        .expect("this program runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let numbers = String::from_utf8(output.stdout).expect("UTF-8");
    let numbers: Vec<_> = numbers
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    numbers.try_into().expect("two numbers")
}

fn main() {
    let arguments: Vec<_> = env::args().collect();
    if let Some(at) = arguments
        .iter()
        .position(|argument| argument == INSTANTIATE)
    {
        return instantiate(&arguments[at + 1]);
    }
    let lab = Lab::new(false);
    let kernels: [&Module; 2] = [&lab.ours, &lab.peer];
    let [ours, peer] = kernels.map(|kernel| lab.link(kernel).memory_size());
    let mut lines = vec![format!("at the start,,{ours},{peer}")];
    for (name, function, arguments) in TRACES {
        let [(ours, live), (peer, _)] = kernels.map(|kernel| {
            let mut linked = lab.link(kernel);
            linked.plugin(function, arguments);
            (linked.memory_size(), linked.peak())
        });
        lines.push(format!("\"{name}\",{live},{ours},{peer}"));
    }
    let [ours, peer] = ["ours", "peer"].map(instances);
    for (i, when) in ["new", "with two blocks of 4 KiB"].into_iter().enumerate() {
        lines.push(format!(
            "\"resident for each of 10,000 instances, {when}\",,{},{}",
            ours[i], peer[i]
        ));
    }
    lines.iter().for_each(|line| println!("{line}"));
    write_csv(
        "footprint",
        "footprint",
        "what,live_bytes,ours_bytes,peer_bytes",
        &lines,
    );
}
