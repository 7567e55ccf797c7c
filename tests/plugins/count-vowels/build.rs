//! Lets the linker write numbers as short as they can be, as Wasm3 knows no others in `call_indirect`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=--compress-relocations");
}
