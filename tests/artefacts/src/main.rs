//! `artefacts FOLDER EXPECTED VERSION [--bless]`: verifies the kernels in a folder, and writes beside them the C headers, the
//! version and the checksums. With `--bless` the file of expected pictures is written instead of compared.

use artefacts::{ARTEFACTS, c_header, picture, sha256, verify};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match &arguments[..] {
        [folder, expected, version] => finish(folder, expected, version, false),
        [folder, expected, version, flag] if flag == "--bless" => {
            finish(folder, expected, version, true)
        }
        _ => Err("usage: artefacts FOLDER EXPECTED VERSION [--bless]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("artefacts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn finish(folder: &str, expected: &str, version: &str, bless: bool) -> Result<(), String> {
    let say = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let folder = Path::new(folder);
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| say(&path, error))
    };
    let (mut pictures, mut sums) = (String::new(), String::new());
    for artefact in &ARTEFACTS {
        let path = folder.join(artefact.file);
        let wasm = fs::read(&path).map_err(|error| say(&path, error))?;
        verify(artefact, &wasm)?;
        pictures += &picture(artefact, &wasm)?;
        let header = artefact.file.replace(".wasm", ".h");
        let text = c_header(artefact, &wasm, version);
        write(&header, &text)?;
        sums += &format!("{}  {}\n", sha256(text.as_bytes()), header);
        sums += &format!("{}  {}\n", sha256(&wasm), artefact.file);
        println!(
            "{:<24} {:>5} bytes  sha256 {}",
            artefact.file,
            wasm.len(),
            sha256(&wasm)
        );
    }
    let version = format!("{version}\n");
    write("extism-runtime.wasm.version", &version)?;
    sums += &format!(
        "{}  extism-runtime.wasm.version\n",
        sha256(version.as_bytes())
    );
    write("SHA256SUMS", &sums)?;

    let expected = Path::new(expected);
    if bless {
        return fs::write(expected, pictures).map_err(|error| say(expected, error));
    }
    let committed = fs::read_to_string(expected).map_err(|error| say(expected, error))?;
    if committed == pictures {
        return Ok(());
    }
    for line in diff(&committed, &pictures) {
        eprintln!("{line}");
    }
    Err(format!(
        "the kernels differ from {}; if that is meant, run ./build.sh --bless and commit the change",
        expected.display()
    ))
}

/// The lines that only one of the two texts has, in their order.
fn diff(old: &str, new: &str) -> Vec<String> {
    let only = |mark: &str, one: &str, other: &str| -> Vec<String> {
        one.lines()
            .filter(|line| !other.lines().any(|same| same == *line))
            .map(|line| format!("{mark}{line}"))
            .collect()
    };
    [only("-", old, new), only("+", new, old)].concat()
}
