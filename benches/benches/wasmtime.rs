//! Wall-clock time on Wasmtime, this kernel and the peer by turns.

use kernel_bench::{
    lab::Lab,
    rows::{Row, rows},
    stats::{Comparison, interleave, time},
    write_csv,
};

fn measure(lab: &Lab, row: &Row) -> Comparison {
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
    let each =
        |times: &[f64]| -> Vec<_> { times.iter().map(|t| t / f64::from(row.runs)).collect() };
    Comparison::of(&each(&times[0]), &each(&times[1]))
}

fn main() {
    let lab = Lab::new(false);
    let line = |row: Row| {
        let line = format!(
            "\"{}\",{},{}",
            row.name,
            measure(&lab, &row).csv(),
            row.goal
        );
        println!("{line}");
        line
    };
    let lines: Vec<_> = rows().into_iter().map(line).collect();
    write_csv(
        "wasmtime",
        "wasmtime",
        "row,ours_ns,peer_ns,ratio,lower_quartile,upper_quartile,goal",
        &lines,
    );
}
