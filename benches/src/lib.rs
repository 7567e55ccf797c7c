//! Measures the kernel beside the peer, the kernel that hosts vendor today, and beside allocators. README.md here says how.

pub mod call;
pub mod lab;
pub mod processes;
pub mod rows;
pub mod stats;
pub mod tables;

use artefacts::{peer, sha256};
use std::{fs, path::PathBuf};

/// The folder of this crate.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Writes `results/NAME.csv`: the command that made it and the kernels it is about, the names of the columns, the rows.
pub fn write_csv(name: &str, bench: &str, columns: &str, rows: &[String]) {
    let kernel = sha256(extism_kernel::KERNEL);
    let peer = sha256(&peer::kernel());
    let text = format!(
        "# cargo bench -p kernel-bench --bench {bench}; kernel {kernel}, peer {peer}\n{columns}\n{}\n",
        rows.join("\n")
    );
    let path = folder().join("results").join(name).with_extension("csv");
    fs::write(&path, text).expect("benches/results/ is writable");
    println!("wrote {}", path.display());
}
