//! Tells the shared model that there is no engine, if there is none.

fn main() {
    if std::env::var_os("CARGO_FEATURE_WASM").is_none() {
        println!("cargo::rustc-cfg=native_only");
    }
}
