//! Time on V8: has Node.js run `v8.mjs` and makes the table of what it prints. `NODE` may name another than that of `PATH`.

use artefacts::peer;
use kernel_bench::{folder, lab::PLUGIN, rows::rows, stats::Comparison, write_csv};
use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

/// From process to process the same bytes may take twice as long: V8 places its code anew.
const PROCESSES: usize = 5;

fn main() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, bytes).expect("target/tmp is writable");
        path
    };
    let plugin = wat::parse_str(PLUGIN).expect("plugin.wat is valid");
    let modules = [
        file("ours.wasm", extism_kernel::KERNEL),
        file("peer.wasm", &peer::kernel()),
        file("plugin.wasm", &plugin),
    ];
    let rows = rows();
    let mut times = vec![[Vec::new(), Vec::new()]; rows.len()];
    for _ in 0..PROCESSES {
        let output = Command::new(env::var_os("NODE").unwrap_or("node".into()))
            .arg(folder().join("v8.mjs"))
            .args(&modules)
            .stderr(Stdio::inherit())
            .output()
            .expect("Node.js is installed");
        assert!(output.status.success());
        let output = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.lines().count(), times.len(), "a line a row");
        for (line, all) in output.lines().zip(&mut times) {
            let both: [Vec<f64>; 2] = serde_json::from_str(line).expect("two lists of numbers");
            for (times, all) in both.into_iter().zip(all) {
                all.extend(times);
            }
        }
    }
    let lines: Vec<_> = rows
        .iter()
        .zip(&times)
        .map(|(row, [ours, peer])| {
            let times = Comparison::of(ours, peer).csv();
            format!("\"{}\",{times},{}", row.name, row.goal)
        })
        .collect();
    println!("{}", lines.join("\n"));
    write_csv(
        "v8",
        "v8",
        "row,ours_ns,peer_ns,ratio,lower_quartile,upper_quartile,goal",
        &lines,
    );
}
