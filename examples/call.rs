//! Calls a function of an Extism plugin on this repository's kernel.
//!
//! Exit status: 0 with the output on stdout; 1 if the call failed, with the plugin's error on stderr; 2 if it
//! could not be made, because of an argument, an unreadable file, or a plugin that can't be loaded.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use extism_kernel_host::{Error, LogLevel, Plugin};

/// Calls a function of an Extism plugin on this repository's kernel. The output goes to stdout as it is; the
/// plugin's error goes to stderr, with exit status 1.
#[derive(Parser)]
struct Args {
    /// The plugin's file: WebAssembly, binary or text
    plugin: PathBuf,
    /// The function to call
    function: String,
    /// The input; without this and --input-file it is read from stdin, unless that is a terminal
    #[arg(long, value_name = "TEXT", conflicts_with = "input_file")]
    input: Option<String>,
    /// A file with the input
    #[arg(long, value_name = "F")]
    input_file: Option<PathBuf>,
    /// A configuration value for the plugin; can be given several times
    #[arg(long, value_name = "K=V", value_parser = key_and_value)]
    config: Vec<(String, String)>,
    /// Let the plugin use WASI: clocks, random numbers and stderr, no files
    #[arg(long)]
    wasi: bool,
    /// Show log messages of this level and above on stderr: trace, debug, info, warn, error, off
    #[arg(long, value_name = "L", default_value_t = LogLevel::Warn)]
    log_level: LogLevel,
    /// The largest size of each memory, the plugin's and the kernel's, in pages of 64 KiB
    #[arg(long, value_name = "PAGES")]
    memory_max: Option<u32>,
    /// Show on stderr what the call took: calls of each kernel export, kernel pages, fuel
    #[arg(long)]
    stats: bool,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected K=V")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(output) => match io::stdout()
            .write_all(&output)
            .and_then(|()| io::stdout().flush())
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(2, &format!("cannot write the output: {error}")),
        },
        Err(Error::Call(text)) => fail(1, &text),
        Err(error) => fail(2, &error.to_string()),
    }
}

fn fail(status: u8, text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(status)
}

fn run(args: &Args) -> Result<Vec<u8>, Error> {
    let wasm = read_file(&args.plugin)?;
    let mut builder = Plugin::builder(extism_kernel::KERNEL, &wasm)
        .wasi(args.wasi)
        .log_level(args.log_level)
        .stats(args.stats);
    for (key, value) in &args.config {
        builder = builder.config(key, value);
    }
    if let Some(pages) = args.memory_max {
        builder = builder.memory_max_pages(pages);
    }
    let mut plugin = builder
        .build()
        .map_err(|error| Error::Load(format!("{}: {error}", args.plugin.display())))?;
    let result = plugin.call(&args.function, read_input(args)?);
    if args.stats {
        eprintln!("{}", plugin.stats());
    }
    result
}

fn read_input(args: &Args) -> Result<Vec<u8>, Error> {
    if let Some(text) = &args.input {
        return Ok(text.clone().into_bytes());
    }
    if let Some(file) = &args.input_file {
        return read_file(file);
    }
    let mut input = Vec::new();
    // Nobody who is at a terminal would know that something is expected there.
    if !io::stdin().is_terminal() {
        io::stdin()
            .read_to_end(&mut input)
            .map_err(|error| Error::Load(format!("stdin: {error}")))?;
    }
    Ok(input)
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::Load(format!("{}: {error}", path.display())))
}
