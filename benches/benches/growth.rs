//! How costs grow: in fuel with the number of blocks, and the memory of a long session over time.

use kernel_bench::{
    lab::{Lab, Linked},
    stats::time,
    write_csv,
};
use wasmtime::Module;

/// Steps of the session: in each a block is freed and another one allocated, of 20 live ones of 1 B to 64 KiB.
const STEPS: usize = 1_000_000;
/// Its walks get ever longer, so the peer is drawn only so far.
const PEER_STEPS: usize = 150_000;
/// The peer's calls with more blocks than this take too long to set up: it walks them for each.
const PEER_BLOCKS: i32 = 100_000;

/// Fuel of `length` and `free` of the middle one of so many live blocks, and of the `alloc` that gets it once fresh space is
/// used up.
fn among(lab: &Lab, kernel: &Module, blocks: i32) -> [u64; 3] {
    let mut linked = lab.link(kernel);
    linked.plugin("fill", &[blocks, 64]);
    linked.limit(linked.memory_size());
    linked.plugin("use_up", &[1 << 20]);
    let middle = linked.handle(blocks as usize / 2);
    let (_, length) = linked.kernel("length", &[middle]);
    let (_, free) = linked.kernel("free", &[middle]);
    let (handle, alloc) = linked.kernel("alloc", &[64]);
    assert_eq!(handle, middle, "nothing else is free");
    [length, free, alloc]
}

fn blocks(lab: &Lab) {
    let mut lines = Vec::new();
    for power in 0..=6 {
        for blocks in [1, 3].map(|first| first * 10i32.pow(power)) {
            if blocks > 1_000_000 {
                continue;
            }
            let [length, free, alloc] = among(lab, &lab.ours, blocks);
            let peer = if blocks <= PEER_BLOCKS {
                among(lab, &lab.peer, blocks).map(|cost| cost.to_string())
            } else {
                Default::default()
            };
            let line = format!(
                "{blocks},{length},{},{free},{},{alloc},{}",
                peer[0], peer[1], peer[2]
            );
            println!("{line}");
            lines.push(line);
        }
    }
    let columns = "live_blocks,length_ours,length_peer,free_ours,free_peer,alloc_ours,alloc_peer";
    write_csv("growth-blocks", "growth", columns, &lines);
}

/// Microseconds of `reset` after so many bytes, the least of a few by turns: the bytes were touched before.
fn reset(lab: &Lab) {
    let mut lines = Vec::new();
    for bytes in [0, 1, 2, 3, 5, 7, 10, 14, 20, 26, 32, 40, 50].map(|mib| mib << 20) {
        let mut kernels = [&lab.ours, &lab.peer].map(|kernel| (lab.link(kernel), f64::MAX));
        for _ in 0..41 {
            for (linked, least) in &mut kernels {
                if bytes > 0 {
                    linked.kernel("alloc", &[bytes]);
                }
                *least = least.min(time(|| linked.plugin("reset", &[])));
            }
        }
        let [ours, peer] = kernels.map(|(_, least)| least / 1e3);
        lines.push(format!("{bytes},{ours:.1},{peer:.1}"));
    }
    write_csv("growth-reset", "growth", "bytes,ours_us,peer_us", &lines);
}

/// Memory after each so many steps of a session without reset.
fn session(lab: &Lab) {
    const SAMPLE: usize = 5_000;
    let [mut ours, mut peer] = [&lab.ours, &lab.peer].map(|kernel| lab.link(kernel));
    let size = |linked: &mut Linked| {
        linked.plugin("session", &[20, SAMPLE as i32, 16, 8]);
        linked.memory_size().to_string()
    };
    let mut lines = Vec::new();
    for steps in (SAMPLE..=STEPS).step_by(SAMPLE) {
        let ours = size(&mut ours);
        let peer = if steps <= PEER_STEPS {
            size(&mut peer)
        } else {
            String::new()
        };
        lines.push(format!("{steps},{ours},{peer}"));
    }
    println!("at most {} bytes were live in the session", ours.peak());
    write_csv(
        "growth-session",
        "growth",
        "steps,ours_bytes,peer_bytes",
        &lines,
    );
}

fn main() {
    blocks(&Lab::new(true));
    let lab = Lab::new(false);
    reset(&lab);
    session(&lab);
}
