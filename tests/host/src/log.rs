use std::{fmt, str::FromStr};

/// How important a log message is, or, as a limit, the least important that is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Each step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What a user may want to know.
    Info,
    /// What looks wrong.
    Warn,
    /// What went wrong.
    Error,
    /// As a limit: no messages at all. No message has this level.
    Off,
}

impl LogLevel {
    const ALL: [(Self, &str); 6] = [
        (Self::Trace, "trace"),
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Warn, "warn"),
        (Self::Error, "error"),
        (Self::Off, "off"),
    ];

    /// The number that `get_log_level` answers: plugins skip messages of a lower one.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Trace => 0,
            Self::Debug => 1,
            Self::Info => 2,
            Self::Warn => 3,
            Self::Error => 4,
            Self::Off => i32::MAX,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(level, _)| level == self);
        f.pad(name.map_or("", |(_, name)| name))
    }
}

/// Reads `trace`, `debug`, `info`, `warn`, `error` or `off`, in lower case; anything else is an error that
/// lists them.
impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(level, _)| *level).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}
