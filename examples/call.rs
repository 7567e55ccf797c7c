//! Calls a function of an Extism plugin on this repository's kernel.
//!
//! Exit status: 0 with the output on stdout; 1 if the call failed, with the plugin's error on stderr; 2 if it
//! could not be made, because of an argument, an unreadable file, or a plugin that can't be loaded.

use std::{
    fmt, fs,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use extism::{CallError, Error, Manifest, Plugin, PluginBuilder, Wasm};

/// Calls a function of an Extism plugin on this repository's kernel. The output goes to stdout as it is; the
/// plugin's error goes to stderr, with exit status 1.
#[derive(Parser)]
struct Args {
    /// The plugin's file: WebAssembly, binary or text, or a manifest in JSON or TOML
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
    /// Let the plugin use WASI: clocks and random numbers, no files
    #[arg(long)]
    wasi: bool,
    /// Show log messages of this level and above on stderr: trace, debug, info, warn, error, off
    #[arg(long, value_name = "L", default_value = "warn", value_parser = ["trace", "debug", "info", "warn", "error", "off"])]
    log_level: String,
    /// How many pages of 64 KiB the plugin's memory may have, and how many all may grow by
    #[arg(long, value_name = "PAGES")]
    memory_max: Option<u32>,
    /// Show on stderr what the call took: kernel pages and fuel
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
        Err(error) => {
            let is_missing = |error: &CallError| {
                matches!(error, CallError::NoFunction(_) | CallError::NotCallable(_))
            };
            let has_run = error.downcast_ref::<NotRun>().is_none()
                && !error.downcast_ref().is_some_and(is_missing);
            fail(if has_run { 1 } else { 2 }, &error.root_cause().to_string())
        }
    }
}

fn fail(status: u8, text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(status)
}

/// The call could not be made.
#[derive(Debug)]
struct NotRun(String);

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}

/// In one line: the errors of WebAssembly's text format show the place.
fn not_run(what: impl fmt::Display, error: impl fmt::Display) -> Error {
    let error = error.to_string();
    let line = error.lines().next().unwrap_or_default();
    NotRun(format!("{what}: {line}")).into()
}

fn run(args: &Args) -> Result<Vec<u8>, Error> {
    let mut plugin = plugin(args)?;
    let result = plugin.call(&args.function, read_input(args)?);
    if args.stats {
        eprintln!("{:<8}{:>12}", "pages", plugin.kernel_pages());
        eprintln!(
            "{:<8}{:>12}",
            "fuel",
            plugin.fuel_consumed().unwrap_or_default()
        );
    }
    result
}

fn plugin(args: &Args) -> Result<Plugin, Error> {
    if args.log_level != "off" {
        // The plugin's own; what failed is said at the end.
        let filter = format!("extism::pdk={}", args.log_level);
        extism::set_log_callback(|line| eprint!("{line}"), filter)?;
    }
    let wasm = read_file(&args.plugin)?;
    let loaded = |result: Result<Plugin, Error>| {
        result.map_err(|error| not_run(args.plugin.display(), error.root_cause()))
    };
    let is_manifest = !wasm.starts_with(b"\0asm") && args.memory_max.is_none();
    let mut manifest = Manifest::new([Wasm::data(wasm.clone())]);
    if let Some(pages) = args.memory_max {
        manifest = manifest.with_memory_max(pages);
    }
    let mut builder = match is_manifest {
        true => PluginBuilder::new(wasm),
        false => PluginBuilder::new(manifest),
    };
    builder = builder.with_wasi(args.wasi);
    if args.stats {
        builder = builder.with_fuel_limit(u64::MAX);
    }
    let plugin = loaded(builder.build())?;
    let config: serde_json::Map<_, _> = args
        .config
        .iter()
        .cloned()
        .map(|(key, value)| (key, value.into()))
        .collect();
    plugin.config().merge(&serde_json::to_vec(&config)?)?;
    Ok(plugin)
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
            .map_err(|error| not_run("stdin", error))?;
    }
    Ok(input)
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| not_run(path.display(), error))
}
