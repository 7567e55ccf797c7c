//! Gives the shared library its SONAME, for programs that are linked with it: they then never take a library of the present ABI.
//! Who loads `libextism.so` by its file's name isn't concerned.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libextism.so.0");
    }
}
