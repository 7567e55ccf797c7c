//! The same measurement in several processes.
//!
//! From process to process the same bytes may take twice as long: engines place code and data anew each time, and processors mind
//! where these are. So what decides is the median over several.

use crate::{rows::rows, stats::Comparison, write_csv};
use std::process::{Command, Stdio};

const PROCESSES: usize = 9;

/// Runs the command so many times. It prints a line of JSON a row: the times of this kernel and those of the peer, in nanoseconds.
/// Writes `results/BENCH.csv`.
pub fn compare(bench: &str, command: &mut Command) {
    let rows = rows();
    let mut times = vec![[Vec::new(), Vec::new()]; rows.len()];
    for _ in 0..PROCESSES {
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", output.status);
        let output = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.lines().count(), times.len(), "a line a row");
        for (line, all) in output.lines().zip(&mut times) {
            let both: [Vec<f64>; 2] = serde_json::from_str(line).expect("two lists of numbers");
            for (times, all) in both.into_iter().zip(all) {
                all.extend(times);
            }
        }
    }
    let lines: Vec<_> = rows
        .iter()
        .zip(&times)
        .map(|(row, [ours, peer])| {
            let times = Comparison::of(ours, peer).csv();
            format!("\"{}\",{times},{}", row.name, row.goal)
        })
        .collect();
    println!("{}", lines.join("\n"));
    write_csv(
        bench,
        bench,
        "row,ours_ns,peer_ns,ratio,lower_quartile,upper_quartile,goal",
        &lines,
    );
}
