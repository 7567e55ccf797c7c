//! Where log lines go. Everything that this crate and its plugins log is an event of `tracing`; here are subscribers for
//! programs that have none of their own. There is one for a process.

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::bail;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::Error;

/// What a filter's text stands for: a level (`error` to `trace`, or 1 to 5) is one for this crate's own events; `off`; or
/// directives as `extism=info,wasmtime=trace`. Nonsense lets nothing through.
fn filter(text: &str) -> Targets {
    if text.is_empty() {
        return Targets::new().with_default(LevelFilter::ERROR);
    }
    match Level::from_str(text) {
        Ok(level) => Targets::new().with_target("extism", level),
        Err(_) => text.parse().unwrap_or_default(),
    }
}

fn init<W>(writer: W, ansi: bool, filter_text: &str) -> Result<(), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // To try a second time would leave this process' log level as the failed one wants it.
    static IS_TAKEN: Mutex<bool> = Mutex::new(false);
    let mut is_taken = IS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_taken {
        bail!("this process' log lines go elsewhere already");
    }
    // A line that can't be written is lost. To say so on stderr, which this layer can, panics where that can't be written to.
    let lines = fmt::layer().with_writer(writer).with_ansi(ansi);
    let subscriber = tracing_subscriber::registry().with(lines);
    subscriber.with(filter(filter_text)).try_init()?;
    *is_taken = true;
    Ok(())
}

/// Sends log lines to a function, one at a time, each with its line end. `filter` is a level or a list of directives, as
/// `extism=info,wasmtime=trace`. An error if something gets this process' log lines already.
///
/// ```
/// extism::set_log_callback(|line| eprint!("{line}"), "info")?;
/// # Ok::<(), extism::Error>(())
/// ```
pub fn set_log_callback<F>(callback: F, filter: impl AsRef<str>) -> Result<(), Error>
where
    F: Fn(&str) + Clone + Send + Sync + 'static,
{
    init(move || Callback(callback.clone()), false, filter.as_ref())
}

struct Callback<F>(F);

impl<F: Fn(&str)> Write for Callback<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends log lines to a file, which is appended to; to stderr if it is named `-` or `stderr`, to stdout if `stdout`, both in
/// colours. For `filter` see [`set_log_callback`]. An error if the file can't be opened, or if something gets this process'
/// log lines already.
pub fn log_to_file(file: impl AsRef<Path>, filter: &str) -> Result<(), Error> {
    match file.as_ref().to_str() {
        Some("-" | "stderr") => init(io::stderr, true, filter),
        Some("stdout") => init(io::stdout, true, filter),
        _ => {
            let file = OpenOptions::new().create(true).append(true).open(file)?;
            init(Mutex::new(file), false, filter)
        }
    }
}

/// How many lines wait for [`drain_log`], and how many bytes they have together; of more, the oldest are dropped.
const MAX_LINES: usize = 100_000;
const MAX_BYTES: usize = 64 << 20;

/// Lines that wait.
#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Kept {
    /// The last line stays, however long it is.
    fn push(&mut self, line: &str) {
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > 1 && (self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES) {
            let dropped = self.lines.pop_front();
            self.bytes -= dropped.map_or(0, |line| line.len());
        }
    }
}

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    lines: VecDeque::new(),
    bytes: 0,
});

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps log lines, the last 100,000 and of these the last 64 MiB, until [`drain_log`] takes them. For `filter` see
/// [`set_log_callback`]. An error if something gets this process' log lines already.
pub fn buffer_log(filter: &str) -> Result<(), Error> {
    set_log_callback(|line| kept().push(line), filter)
}

/// Takes the lines that [`buffer_log`] has kept. `handler` may do whatever it likes; what that logs is for the next time.
pub fn drain_log(handler: impl FnMut(String)) {
    let taken = std::mem::take(&mut *kept());
    taken.lines.into_iter().for_each(handler);
}

#[cfg(test)]
mod tests {
    use super::{Kept, MAX_BYTES, MAX_LINES};

    /// A plugin that logs a megabyte at a time filled the host's memory, 100,000 lines being so much.
    #[test]
    fn lines_that_wait_are_bounded_in_number_and_in_bytes() {
        let mut kept = Kept::default();
        for line in 0..MAX_LINES + 5 {
            kept.push(&line.to_string());
        }
        assert_eq!(kept.lines.len(), MAX_LINES);
        assert_eq!(kept.lines[0], "5");
        assert_eq!(
            kept.bytes,
            kept.lines.iter().map(String::len).sum::<usize>()
        );
        let long = "x".repeat(MAX_BYTES / 4);
        for _ in 0..9 {
            kept.push(&long);
        }
        assert_eq!((kept.lines.len(), kept.bytes), (4, MAX_BYTES));
        kept.push(&"x".repeat(MAX_BYTES + 1));
        assert_eq!((kept.lines.len(), kept.bytes), (1, MAX_BYTES + 1));
    }
}
