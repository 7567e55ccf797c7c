use std::collections::BTreeMap;

use wasmtime_wasi::p1::WasiP1Ctx;

use crate::{LogLevel, limits::Limits};

/// Where log messages go.
pub(crate) type LogSink = Box<dyn FnMut(LogLevel, &str) + Send>;

/// What the host keeps for one plugin, in reach of every function it provides.
pub(crate) struct State {
    pub(crate) config: BTreeMap<String, String>,
    /// Live from call to call, unlike anything in the kernel's memory.
    pub(crate) vars: BTreeMap<String, Vec<u8>>,
    pub(crate) log_level: LogLevel,
    pub(crate) log_sink: LogSink,
    pub(crate) limits: Limits,
    /// There also when WASI is off: then nothing is linked that would use it.
    pub(crate) wasi: WasiP1Ctx,
    /// The plugin's calls of kernel exports, by name; empty unless they are counted.
    pub(crate) kernel_calls: BTreeMap<String, u64>,
    pub(crate) fuel_used: u64,
}
