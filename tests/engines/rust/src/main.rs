//! What `tests/engines/run` needs beside the runners: `runner wat FROM.wat TO.wasm` translates a plugin, `runner peer TO.wasm` writes
//! the released kernel, and `runner table RESULTS [--peer]` prints what the engines showed, and fails if that isn't what it
//! should be.

mod table;

use artefacts::peer;
use std::{env, error::Error, fs, process::ExitCode};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["wat", from, to] => fs::write(to, wat::parse_file(from)?)?,
        ["peer", to] => fs::write(to, peer::kernel())?,
        ["table", results, ref peer @ ..] => {
            let report = table::Report::new(&fs::read_to_string(results)?, peer == ["--peer"])?;
            print!("{}", report.markdown);
            for problem in &report.problems {
                eprintln!("{problem}");
            }
            return Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        _ => {
            return Err(
                "usage: runner wat FROM.wat TO.wasm, runner peer TO.wasm, or runner table RESULTS [--peer]".into()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
