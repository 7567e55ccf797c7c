//! Replays what the fuzzers of `fuzz/` found, and what led them far: each file of `tests/findings`.

mod model;

use std::{fs, path::Path};

use model::{Model, decode};

/// Runs every file of a folder, and prints how many steps that took.
fn replay(target: &str, run: impl Fn(u64, &[model::Op]) -> usize) {
    // The same folder, whichever package the test belongs to.
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("tests/findings").is_dir());
    let folder = tests.unwrap().join("tests/findings").join(target);
    let (mut files, mut steps) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        let (limit, ops) = decode(&fs::read(&path).unwrap());
        assert!(!ops.is_empty(), "{} stands for nothing", path.display());
        steps += run(limit, &ops);
        files += 1;
    }
    println!("{files} files, {steps} steps");
    assert!(files > 0, "no findings");
}

#[test]
fn native() {
    replay("native", |limit, ops| {
        Model::run(model::native(), limit, ops)
    });
}

#[cfg(not(native_only))]
#[test]
fn wasm() {
    replay("wasm", |limit, ops| {
        Model::run(model::Lockstep::new(&model::shipped()[0]), limit, ops)
    });
}
