//! Translates plugins from the text format: `runner FROM.wat TO.wasm`.

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [from, to] = &arguments[..] else {
        return Err("usage: runner FROM.wat TO.wasm".into());
    };
    fs::write(to, wat::parse_file(from)?)?;
    Ok(())
}
