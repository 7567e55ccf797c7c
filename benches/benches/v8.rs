//! Wall-clock time on V8: has Node.js run `v8.mjs` and makes the table of what it prints.

use artefacts::peer;
use kernel_bench::{folder, lab::PLUGIN, rows::rows, stats::Comparison, write_csv};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

fn main() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, bytes).expect("target/tmp is writable");
        path
    };
    let mut node = Command::new("node")
        .arg(folder().join("v8.mjs"))
        .arg(file("ours.wasm", extism_kernel::KERNEL))
        .arg(file("peer.wasm", &peer::kernel()))
        .arg(file(
            "plugin.wasm",
            &wat::parse_str(PLUGIN).expect("plugin.wat is valid"),
        ))
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js is installed");
    let mut output = BufReader::new(node.stdout.take().expect("it is piped")).lines();
    let mut lines = Vec::new();
    for row in rows() {
        let times = output
            .next()
            .expect("v8.mjs prints a line a row")
            .expect("UTF-8");
        let [ours, peer]: [Vec<f64>; 2] =
            serde_json::from_str(&times).expect("two lists of numbers");
        let line = format!(
            "\"{}\",{},{}",
            row.name,
            Comparison::of(&ours, &peer).csv(),
            row.goal
        );
        println!("{line}");
        lines.push(line);
    }
    assert!(node.wait().expect("it runs").success());
    write_csv(
        "v8",
        "v8",
        "row,ours_ns,peer_ns,ratio,lower_quartile,upper_quartile,goal",
        &lines,
    );
}
