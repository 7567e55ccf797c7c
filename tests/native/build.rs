//! Tells the shared tests that there is no engine.

fn main() {
    println!("cargo::rustc-cfg=native_only");
}
