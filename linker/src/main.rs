//! The command: `extism-kernel-linker PLUGIN.wasm -o LINKED.wasm`.

use clap::Parser;
use extism_kernel_linker::{Form, KERNEL_ONE_MEMORY_MVP, Options, link};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Makes an Extism plugin and the kernel one WebAssembly module.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The plugin, a core module
    plugin: PathBuf,
    /// Where the linked module goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Puts the kernel's memory behind the plugin's in one memory, for engines without multiple memories
    #[arg(long)]
    one_memory: bool,
    /// In one memory, takes the kernel that needs no bulk memory
    #[arg(long, requires = "one_memory")]
    mvp: bool,
    /// Leaves calls of the kernel's short functions, instead of putting their code in place
    #[arg(long)]
    no_inline: bool,
    /// Has wasm-opt of Binaryen, which must be in PATH, optimise the result for speed
    #[arg(long)]
    optimize: bool,
    /// Takes another kernel than that of this release
    #[arg(long, value_name = "FILE", conflicts_with = "mvp")]
    kernel: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("extism-kernel-linker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, String> {
    let read = |path: &Path| fs::read(path).map_err(|error| say(path, &error));
    let plugin = read(&arguments.plugin)?;
    let kernel = arguments.kernel.as_deref().map(read).transpose()?;
    let form = if arguments.one_memory {
        Form::OneMemory
    } else {
        Form::TwoMemories
    };
    let mut options = Options {
        inline: !arguments.no_inline,
        ..Options::new(form)
    };
    if let Some(kernel) = &kernel {
        options.kernel = kernel;
    } else if arguments.mvp {
        options.kernel = KERNEL_ONE_MEMORY_MVP;
    }
    let start = Instant::now();
    let linked = link(&plugin, &options).map_err(|error| say(&arguments.plugin, &error))?;
    let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
    for warning in &linked.warnings {
        eprintln!("extism-kernel-linker: warning: {warning}");
    }
    let output = &arguments.output;
    fs::write(output, &linked.wasm).map_err(|error| say(output, &error))?;
    let mut size = linked.wasm.len() as u64;
    let mut optimized = "";
    if arguments.optimize {
        optimize(output)?;
        size = fs::metadata(output)
            .map_err(|error| say(output, &error))?
            .len();
        optimized = ", optimised";
    }
    let growth = size as i64 - plugin.len() as i64;
    Ok(format!(
        "{}: {size} bytes, {growth:+} ({:+.1} %); the kernel's code in place of {} calls; linked in {milliseconds:.1} ms{optimized}",
        output.display(),
        growth as f64 / plugin.len() as f64 * 100.0,
        linked.inlined,
    ))
}

fn say(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Runs `wasm-opt` over a file: with all features, since it is the engine that says what the module may use, and without adding any.
fn optimize(file: &Path) -> Result<(), String> {
    let all = [
        "-O3",
        "--all-features",
        "--disable-custom-descriptors",
        "-o",
    ]
    .map(OsStr::new);
    let status = Command::new("wasm-opt")
        .arg(file)
        .args(all)
        .arg(file)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "wasm-opt failed ({status}); {} is linked, but not optimised",
            file.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "wasm-opt is not in PATH (Binaryen has it); {} is linked, but not optimised",
            file.display()
        )),
        Err(error) => Err(format!("wasm-opt: {error}")),
    }
}
