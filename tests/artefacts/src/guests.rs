//! Cargo, for what tests and benchmarks build for WebAssembly: plugins, and allocators to compare with.

use std::{env, process::Command};

/// The beginnings of variables that say how something is built.
const PREFIXES: [&str; 6] = [
    "RUSTFLAGS",
    "RUSTC",
    "CARGO_ENCODED_",
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
];

/// Runs cargo in an environment that says nothing of builds: how the tests themselves are built, for coverage say, or how
/// somebody else's project is, is not how these are.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    // Nor is what configuration files say; said like this, and empty, it takes their place.
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", "")
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "");
    cargo
}
