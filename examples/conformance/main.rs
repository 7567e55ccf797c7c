//! Writes the contract as data: `dist/conformance.json`, and the JSON Schema beside it.
//!
//! `cargo run --example conformance`

mod cases;

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    let json = cases::all().to_json();
    fs::write(dist.join("conformance.json"), &json)?;
    fs::write(dist.join("conformance.schema.json"), cases::SCHEMA)?;
    let cases = json.matches("\"reason\"").count();
    println!("dist/conformance.json now has {cases} cases");
    Ok(())
}
