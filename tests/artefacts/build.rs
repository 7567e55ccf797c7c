//! Says why, before anything else is built in vain, where the tests would be built for WebAssembly, on which they can't run.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target.starts_with("wasm") {
        println!(
            "cargo::error=CARGO_BUILD_TARGET or --target says {target}, on which the tests can't run: \
             `env -u CARGO_BUILD_TARGET cargo test`"
        );
    }
}
