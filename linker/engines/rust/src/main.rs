//! `linked-engines ENGINE PLUGIN.wasm NAME=FILE...`: times calls of `echo`, on `wasmtime` or `wasmi`.
//!
//! A FILE is a kernel, which is linked with the plugin as usual, or a module in which both are linked already. All take turns; printed are,
//! for each name and size, the microseconds of CPU time of a call.

use cpu_time::ThreadTime;
use runner as _;
use std::{env, fs, hint::black_box};

#[cfg(feature = "wasmi")]
mod with_wasmi;
#[cfg(feature = "wasmtime")]
mod with_wasmtime;

/// A plugin in a host.
pub trait Plugin {
    /// A whole call of `echo`.
    fn call(&mut self, input: &[u8]) -> Vec<u8>;
}

/// The prefix of the kernel's exports in a linked module.
pub const PREFIX: &str = "extism:kernel/";

const SIZES: [usize; 3] = [64, 4096, 1 << 20];
const ROUNDS: usize = 15;
/// Microseconds that a batch of calls should take.
const BATCH: f64 = 20_000.0;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [engine, plugin, files @ ..] = &arguments[..] else {
        panic!("usage: linked-engines ENGINE PLUGIN.wasm NAME=FILE...");
    };
    let plugin = fs::read(plugin).expect("the plugin");
    let mut subjects: Vec<(&str, Box<dyn Plugin>)> = files
        .iter()
        .map(|file| {
            let (name, file) = file.split_once('=').expect("NAME=FILE");
            let module = fs::read(file).expect("a file");
            let plugin: Box<dyn Plugin> = match engine.as_str() {
                #[cfg(feature = "wasmtime")]
                "wasmtime" => with_wasmtime::open(&module, &plugin, false),
                #[cfg(feature = "wasmtime")]
                "wasmtime-inlining" => with_wasmtime::open(&module, &plugin, true),
                #[cfg(feature = "wasmi")]
                "wasmi" => with_wasmi::open(&module, &plugin),
                other => panic!("no engine {other}"),
            };
            (name, plugin)
        })
        .collect();
    for size in SIZES {
        let input: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
        let mut batch = vec![1; subjects.len()];
        for (at, (_, plugin)) in subjects.iter_mut().enumerate() {
            assert_eq!(plugin.call(&input), input, "the output is the input");
            batch[at] = (BATCH / time(plugin.as_mut(), &input, 3)).clamp(1.0, 1e6) as usize;
        }
        for _ in 0..ROUNDS {
            for (at, (_, plugin)) in subjects.iter_mut().enumerate() {
                times[at].push(time(plugin.as_mut(), &input, batch[at]));
            }
        }
        for ((name, _), mut times) in subjects.iter().zip(times) {
            times.sort_by(f64::total_cmp);
            println!("{engine} {name} {size} {:.4}", times[times.len() / 2]);
        }
    }
}

/// Microseconds of a call, in the mean of so many.
fn time(plugin: &mut dyn Plugin, input: &[u8], calls: usize) -> f64 {
    let start = ThreadTime::now();
    for _ in 0..calls {
        black_box(plugin.call(input));
    }
    start.elapsed().as_nanos() as f64 / 1000.0 / calls as f64
}
