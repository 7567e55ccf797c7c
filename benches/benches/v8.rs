//! Time on V8: has Node.js run `v8.mjs` and makes the table of what it prints. `NODE` may name another than that of `PATH`.

use artefacts::peer;
use kernel_bench::{folder, lab::PLUGIN, processes};
use std::{env, fs, path::Path, process::Command};

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
    let node = env::var_os("NODE").unwrap_or("node".into());
    let version = Command::new(&node)
        .args(["--print", "process.versions.v8"])
        .output()
        .expect("Node.js runs");
    let version = String::from_utf8_lossy(&version.stdout);
    assert!(
        version.starts_with("13.6."),
        "the tables are of V8 13.6, that of Node.js 24, and this is {version}: NODE names another"
    );
    processes::compare(
        "v8",
        Command::new(node)
            .arg(folder().join("v8.mjs"))
            .args(modules),
    );
}
