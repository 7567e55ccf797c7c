//! Checks that the plugins do in the engine's host what they do in any other.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crate::{Context, Engine, Error, Kernel, Plugin, Setup, timed};

pub(crate) struct Checks {
    pub(crate) total: usize,
    pub(crate) failed: usize,
    /// Whether the host context was shown; `None` if the kernel has none.
    pub(crate) context: Option<bool>,
}

type Check<E> = fn(&E, &Wasm) -> Result<(), Error>;

/// The folder of the plugins.
struct Wasm(PathBuf);

impl Wasm {
    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.0.join(name).with_extension("wasm");
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn plugin<E: Engine>(&self, engine: &E, name: &str, setup: Setup<'_>) -> Result<E::Plugin, Error> {
        engine.plugin(&self.read(name)?, setup)
    }
}

/// Runs all checks, and tells those that failed.
pub(crate) fn run<E: Engine>(engine: &Arc<E>, folder: &Path) -> Result<Checks, Error> {
    let checks: [(&str, Check<E>); 10] = [
        ("echo", echo),
        ("count_vowels", count_vowels),
        ("count_vowels with config", configuration),
        ("fail", an_error),
        ("vars", variables),
        ("greet", greet),
        ("add", numbers),
        ("handle_echo", handle_echo),
        ("log", log_levels),
        ("initialised", initialised),
    ];
    let mut failed = 0;
    for (name, check) in checks {
        failed += usize::from(!passes(engine, folder, name, check));
    }
    let context = match engine.kernel(None)?.context() {
        Context::Absent => None,
        _ => Some(passes(engine, folder, "the host context", host_context)),
    };
    let total = checks.len();
    Ok(Checks { total, failed, context })
}

fn passes<E: Engine>(engine: &Arc<E>, folder: &Path, name: &str, check: Check<E>) -> bool {
    let (engine, wasm) = (Arc::clone(engine), Wasm(folder.to_owned()));
    let result = timed(move || check(&engine, &wasm));
    if let Err(error) = &result {
        eprintln!("{}: FAILED plugins, {name}: {error}", E::NAME);
    }
    result.is_ok()
}

/// Bytes that don't repeat soon.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn expect(what: &str, found: &[u8], expected: &[u8]) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let start = String::from_utf8_lossy(&found[..found.len().min(100)]);
    Err(format!("{what} gave {} bytes: {start}", found.len()))
}

fn echo<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "echo", Setup::default())?;
    for size in [0, 1, 7, 8, 65_536, 1_000_003] {
        let input = pattern(size);
        expect("echo", &plugin.call("echo", &input, None)?, &input)?;
    }
    Ok(())
}

fn count_vowels<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "count_vowels", Setup::default())?;
    for total in [3, 6] {
        let output = plugin.call("count_vowels", b"Hello, World!", None)?;
        let expected = format!(r#"{{"count":3,"total":{total},"vowels":"aeiouAEIOU"}}"#);
        expect("count_vowels", &output, expected.as_bytes())?;
    }
    Ok(())
}

fn configuration<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let setup = Setup { config: &[("vowels", "o")], ..Setup::default() };
    let mut plugin = wasm.plugin(engine, "count_vowels", setup)?;
    let output = plugin.call("count_vowels", b"Hello, World!", None)?;
    expect("count_vowels", &output, br#"{"count":2,"total":2,"vowels":"o"}"#)
}

fn an_error<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "fail", Setup::default())?;
    match plugin.call("error_text", b"no such thing", None) {
        Err(text) => expect("error_text", text.as_bytes(), b"no such thing")?,
        Ok(_) => return Err("error_text did not fail".to_owned()),
    }
    expect("succeed", &plugin.call("succeed", b"", None)?, b"")
}

fn variables<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "vars", Setup::default())?;
    plugin.call("set", b"a value", None)?;
    expect("get", &plugin.call("get", b"", None)?, b"a value")?;
    plugin.call("delete", b"", None)?;
    expect("get", &plugin.call("get", b"", None)?, b"")
}

fn greet<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "host-functions", Setup::default())?;
    let greeting = plugin.call("greet", b"Benjamin", None)?;
    expect("greet", &greeting, b"Hello, Benjamin!")
}

fn host_context<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "host-functions", Setup::default())?;
    // A context is that of its call and of no other.
    for (context, greeting) in
        [(Some("Bonjour"), "Bonjour, Benjamin!"), (Some("Salut"), "Salut, Benjamin!"), (None, "Hello, Benjamin!")]
    {
        let output = plugin.call("greet", b"Benjamin", context)?;
        expect("greet", &output, greeting.as_bytes())?;
    }
    Ok(())
}

fn numbers<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "host-functions", Setup::default())?;
    expect("add", &plugin.call("add", b"", None)?, &[42])
}

fn handle_echo<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut plugin = wasm.plugin(engine, "handle_echo", Setup::default())?;
    for input in ["there and back", "again"] {
        let output = plugin.call("handle_echo", input.as_bytes(), None)?;
        expect("handle_echo", &output, input.as_bytes())?;
    }
    Ok(())
}

fn log_levels<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    const MESSAGES: [(&str, &str); 5] = [("trace", "t"), ("debug", "d"), ("info", "i"), ("warn", "w"), ("error", "e")];
    for log_level in [0, 3] {
        let setup = Setup { log_level, ..Setup::default() };
        let mut plugin = wasm.plugin(engine, "log", setup)?;
        let level = plugin.call("level", b"", None)?;
        expect("level", &level, log_level.to_string().as_bytes())?;
        // The host has freed the last message: its length is 0.
        let length = plugin.call("log_each_level", b"", None)?;
        expect("log_each_level", &length, b"0")?;
        let logged = plugin.logged();
        let logged: Vec<_> = logged.iter().map(|(level, text)| (&**level, &**text)).collect();
        if logged != MESSAGES[log_level as usize..] {
            return Err(format!("with level {log_level} there came {logged:?}"));
        }
    }
    Ok(())
}

fn initialised<E: Engine>(engine: &E, wasm: &Wasm) -> Result<(), Error> {
    let mut haskell = wasm.plugin(engine, "haskell", Setup::default())?;
    haskell.call("initialised", b"", None)?;
    haskell.call("initialised", b"", None)?;
    wasm.plugin(engine, "constructors", Setup::default())?.call("initialised", b"", None).map(drop)
}

/// The median time of a call of `echo` with 4,096 bytes, in microseconds, to a tenth.
pub(crate) fn speed<E: Engine>(engine: &Arc<E>, folder: &Path) -> Result<f64, Error> {
    let (engine, wasm) = (Arc::clone(engine), Wasm(folder.to_owned()));
    timed(move || {
        let mut plugin = wasm.plugin(&*engine, "echo", Setup::default())?;
        let input = pattern(4096);
        for _ in 0..20 {
            plugin.call("echo", &input, None)?;
        }
        let mut times = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            plugin.call("echo", &input, None)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        Ok((times[99..101].iter().sum::<f64>() * 5.0).round() / 10.0)
    })
}

/// Whether the kernel works in four pages, and says 0 when they are used up.
pub(crate) fn four_pages<E: Engine>(engine: &Arc<E>, folder: &Path) -> Result<(), Error> {
    let (engine, wasm) = (Arc::clone(engine), Wasm(folder.to_owned()));
    timed(move || {
        let setup = Setup { max_pages: Some(4), ..Setup::default() };
        let input = pattern(65_536);
        let output = wasm.plugin(&*engine, "echo", setup)?.call("echo", &input, None)?;
        expect("echo", &output, &input)?;
        match engine.kernel(Some(4))?.call("alloc", &[1_048_576])? {
            0 => Ok(()),
            handle => Err(format!("alloc gave {handle}")),
        }
    })
}
