//! Time on Wasmtime, this kernel and the peer by turns.

use kernel_bench::{
    lab::Lab,
    processes,
    rows::{Row, rows},
    stats::{interleave, time},
};
use std::{env, process::Command};

/// The argument of a process that measures.
const MEASURE: &str = "measure";

fn measure(lab: &Lab, row: &Row) -> Vec<Vec<f64>> {
    let kernels = [&lab.ours, &lab.peer];
    let times = match row.run.name.as_str() {
        "instantiate" => interleave(&mut kernels.clone(), row.repetitions, |kernel| {
            time(|| (0..row.runs).for_each(|_| drop(lab.instantiate(kernel))))
        }),
        "call" => {
            let input = vec![7; row.run.arguments[0] as usize];
            let mut linked = kernels.map(|kernel| (lab.link(kernel), Vec::new()));
            interleave(&mut linked, row.repetitions, |(linked, output)| {
                let time = time(|| {
                    for _ in 0..row.runs {
                        linked.call(&input, output).expect("no trap");
                    }
                });
                assert_eq!(*output, input);
                time
            })
        }
        name => {
            let mut linked = kernels.map(|kernel| {
                let mut linked = lab.link(kernel);
                let before = row.before.iter();
                let before: Vec<_> = before
                    .map(|step| linked.prepare(&step.name, &step.arguments))
                    .collect();
                let run = linked.prepare(name, &row.run.arguments);
                (linked, before, run)
            });
            interleave(&mut linked, row.repetitions, |(linked, before, run)| {
                before.iter().for_each(|step| linked.run(step));
                time(|| (0..row.runs).for_each(|_| linked.run(run)))
            })
        }
    };
    let each = |time: &f64| time / f64::from(row.runs);
    times
        .iter()
        .map(|times| times.iter().map(each).collect())
        .collect()
}

fn main() {
    if env::args().any(|argument| argument == MEASURE) {
        let lab = Lab::new(false);
        for row in rows() {
            let times = measure(&lab, &row);
            println!("{}", serde_json::to_string(&times).expect("numbers"));
        }
    } else {
        let this = env::current_exe().expect("the path of this program");
        processes::compare("wasmtime", Command::new(this).arg(MEASURE));
    }
}
