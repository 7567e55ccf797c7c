//! The READMEs' tables are those of `benches/results/`, the figures there are of the kernel in `dist/`, and the picture of a call is
//! what draws it.

#[path = "../benches/src/call.rs"]
mod call;
#[path = "../benches/src/tables.rs"]
mod tables;

use std::{fs, path::Path};

#[test]
fn readmes_have_the_measured_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, name, table) in tables::tables(&root.join("benches/results")) {
        let readme = fs::read_to_string(root.join(file)).unwrap();
        assert!(
            readme.contains(&format!("<!-- {name} -->\n{table}\n")),
            "{file} has another table under {name}: run cargo run --release -p kernel-bench --bin report"
        );
    }
}

#[test]
fn the_picture_of_a_call_is_as_drawn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results/call.svg");
    assert!(
        fs::read_to_string(path).unwrap() == call::picture(),
        "call.svg is another: run cargo run --release -p kernel-bench --bin report"
    );
}

#[test]
fn figures_are_of_this_kernel() {
    let kernel = format!("kernel {}", artefacts::sha256(extism_kernel::KERNEL));
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    let files = fs::read_dir(results)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let csvs: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "csv"))
        .collect();
    assert_eq!(csvs.len(), 7);
    for path in csvs {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        assert!(
            first.starts_with("# cargo bench -p kernel-bench --bench ") && first.contains(&kernel),
            "{} is of another kernel: benches/README.md says how to measure this one",
            path.display()
        );
    }
}
