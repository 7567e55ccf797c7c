//! The peer: the kernel that the crate `extism` carries in its package. It is read from cargo's registry, and fetched
//! into it first if it isn't there; none of its bytes are in this repository.

use crate::sha256;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const VERSION: &str = "1.41.0";
const SHA256: &str = "d1389b31abecf23eec65b4430d86f99f736aeb05c40948dbbe2f88cb17815803";

/// The peer's bytes. Panics if they can't be had: a comparison that isn't made must not look like one that passed.
pub fn kernel() -> Vec<u8> {
    find().unwrap_or_else(|| {
        fetch();
        find().unwrap_or_else(|| {
            panic!(
                "the peer isn't in {} although cargo fetched extism {VERSION}: no src/extism-runtime.wasm there has the sha256 {SHA256}",
                sources().display()
            )
        })
    })
}

/// Where cargo unpacks the packages of registries.
fn sources() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map_or_else(
        || env::home_dir().expect("a home directory").join(".cargo"),
        PathBuf::from,
    );
    home.join("registry/src")
}

/// The peer in any version's package of any registry.
fn find() -> Option<Vec<u8>> {
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).ok();
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    folders(&sources())
        .flat_map(|registry| folders(&registry))
        .filter(|package| {
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("extism-")
        })
        .filter_map(|package| fs::read(package.join("src/extism-runtime.wasm")).ok())
        .find(|bytes| sha256(bytes) == SHA256)
}

/// Has cargo fetch the package, for a project that nobody builds.
fn fetch() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peer");
    fs::create_dir_all(&project).expect("target/ is writable");
    let manifest = format!(
        "[package]\nname = \"peer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n\
         [dependencies]\nextism = \"={VERSION}\"\n\n[workspace]\n"
    );
    fs::write(project.join("Cargo.toml"), manifest).expect("target/ is writable");
    fs::write(project.join("lib.rs"), "").expect("target/ is writable");
    let status = Command::new(env!("CARGO"))
        .arg("fetch")
        .current_dir(&project)
        .status()
        .expect("cargo runs");
    assert!(
        status.success(),
        "the peer isn't in {}, and cargo could not fetch extism {VERSION}: is the network there?",
        sources().display()
    );
}
