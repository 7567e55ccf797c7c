//! What the runners of all engines for Rust share: the conformance cases, the checks of the plugins, the trace and the
//! line that is printed at the end. An engine comes in by the traits below.

mod conformance;
mod plugins;
mod trace;

use std::{
    env, fs,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// What went wrong, for people.
pub type Error = String;

/// A failure of an engine as text, with its causes.
pub fn error(error: impl std::fmt::Debug) -> Error {
    let text = format!("{error:?}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An engine that has compiled the kernel.
pub trait Engine: Send + Sync + 'static {
    /// The name of the engine's crate.
    const NAME: &str;

    /// The kernel without a plugin.
    type Kernel: Kernel;

    /// A plugin in the engine's host.
    type Plugin: Plugin;

    /// Compiles the kernel.
    fn new(kernel: &[u8]) -> Result<Self, Error>
    where
        Self: Sized;

    /// A fresh instance of the kernel alone, whose memory can't become larger than this, by the engine's own means.
    fn kernel(&self, max_pages: Option<u32>) -> Result<Self::Kernel, Error>;

    /// A plugin in the engine's host.
    fn plugin(&self, wasm: &[u8], setup: Setup<'_>) -> Result<Self::Plugin, Error>;
}

/// What a plugin gets.
#[derive(Default, Clone, Copy)]
pub struct Setup<'a> {
    /// Keys and values.
    pub config: &'a [(&'a str, &'a str)],
    /// What `get_log_level` answers.
    pub log_level: i32,
    /// The kernel's memory can't become larger.
    pub max_pages: Option<u32>,
}

/// An instance of the kernel without a plugin, for the conformance cases.
pub trait Kernel {
    /// Calls an export. Arguments are cut to 32 bits where the export wants an i32, an i32 result is unsigned, no result
    /// is 0.
    fn call(&mut self, export: &str, arguments: &[u64]) -> Result<u64, Error>;

    /// The size of the memory in bytes.
    fn size(&mut self) -> u64;

    /// So many bytes of the memory from there. An error if they aren't all inside.
    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Error>;

    /// Writes the memory as a host can. An error if the bytes aren't all inside.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Grows the memory as a host can.
    fn grow(&mut self, pages: u32) -> Result<(), Error>;

    /// The names of all exports.
    fn exports(&mut self) -> Vec<String>;

    /// Sets `extism_context` to an object that is the same for this instance every time.
    fn set_context(&mut self) -> Result<(), Error>;

    /// What `extism_context` is.
    fn context(&mut self) -> Context;
}

/// What the global `extism_context` is.
#[derive(Debug, PartialEq, Eq)]
pub enum Context {
    /// The kernel exports none.
    Absent,
    /// Null.
    Null,
    /// The object that [`Kernel::set_context`] put there.
    Ours,
    /// Something else.
    Other,
}

/// A plugin with a kernel of its own, in a host that offers it:
///
/// - `extism:host/user` `greet`: returns a block with "WORD, NAME!", where NAME is in the block that it gets, and WORD is
///   the string that the host context is, or else "Hello",
/// - `extism:host/user` `echo_handle`: returns its argument,
/// - `calculator` `add`: the sum of an i32 and an f64, rounded down, as i32.
pub trait Plugin {
    /// Calls a function of the plugin, with the host context if one is given.
    fn call(&mut self, function: &str, input: &[u8], context: Option<&str>) -> Result<Vec<u8>, Error>;

    /// The messages that arrived up to now, with the name of their level.
    fn logged(&mut self) -> Vec<(String, String)>;
}

/// An endless loop is what takes longer than this.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs a piece of work on a thread of its own. One that doesn't end is left behind, so that any engine will do, also one
/// whose instances can't be stopped; it ends with the process.
fn timed<R: Send + 'static>(work: impl FnOnce() -> Result<R, Error> + Send + 'static) -> Result<R, Error> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(LIMIT).unwrap_or_else(|problem| match problem {
        mpsc::RecvTimeoutError::Timeout => Err("endless loop".to_owned()),
        mpsc::RecvTimeoutError::Disconnected => Err("panic".to_owned()),
    })
}

/// The version of a crate that cargo builds the runners with: that of the lock file, where a name is followed by it.
fn version(name: &str) -> Option<&str> {
    let lock = include_str!("../../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

/// The runner of an engine: does what `tests/engines/README.md` says.
pub fn main<E: Engine>() -> ExitCode {
    match run::<E>() {
        Ok((line, good)) => {
            println!("{line}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{}: {error}", E::NAME);
            ExitCode::from(2)
        }
    }
}

fn run<E: Engine>() -> Result<(Value, bool), Error> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [kernel, cases, plugins] = &arguments[..] else {
        return Err("usage: RUNNER KERNEL.wasm CONFORMANCE.json PLUGINS".to_owned());
    };
    let read = |path: &PathBuf| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let engine = Arc::new(E::new(&read(kernel)?)?);
    let cases = conformance::read(&read(cases)?)?;

    let total = cases.len();
    let failed = conformance::replay(&engine, cases);
    let checks = plugins::run(&engine, plugins)?;
    let speed = plugins::speed(&engine, plugins);
    let told = |what: &str, error: Error| eprintln!("{}: {what}: {error}", E::NAME);
    let speed = speed.map_err(|error| told("the time of a call", error)).ok();
    let for_trace = Arc::clone(&engine);
    let hash = timed(move || trace::hash(&mut for_trace.kernel(None)?)).map_err(|error| told("the trace", error)).ok();
    let four_pages = plugins::four_pages(&engine, plugins).map_err(|error| told("four pages", error)).is_ok();

    let line = json!({
        "engine": E::NAME,
        "version": version(E::NAME),
        "cases": total,
        "failed": failed,
        "plugins": checks.total,
        "plugins_failed": checks.failed,
        "call_us": speed,
        "hash": hash.as_ref().map(|hash| format!("{hash:016x}")),
        "four_pages": four_pages,
        "context": checks.context,
    });
    let good = failed == 0
        && checks.failed == 0
        && checks.context != Some(false)
        && speed.is_some()
        && hash.is_some()
        && four_pages;
    Ok((line, good))
}
