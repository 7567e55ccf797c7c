//! Medians of interleaved repetitions.
//!
//! On a shared machine a measurement is slowed down by whatever else runs. So subjects take turns within each repetition,
//! ratios are taken within it too, and of all of them the median counts.

use cpu_time::ThreadTime;

/// The value at that part of the sorted ones: 0.5 is the median.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// Two subjects compared, in nanoseconds, and the ratio of the first to the second.
#[allow(missing_docs)]
pub struct Comparison {
    pub first: f64,
    pub second: f64,
    pub ratio: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
}

impl Comparison {
    /// From times of the same repetitions.
    pub fn of(first: &[f64], second: &[f64]) -> Self {
        let ratios: Vec<_> = first.iter().zip(second).map(|(a, b)| a / b).collect();
        Self {
            first: quantile(first, 0.5),
            second: quantile(second, 0.5),
            ratio: quantile(&ratios, 0.5),
            lower_quartile: quantile(&ratios, 0.25),
            upper_quartile: quantile(&ratios, 0.75),
        }
    }

    /// As columns of a CSV.
    pub fn csv(&self) -> String {
        format!(
            "{:.0},{:.0},{:.3},{:.3},{:.3}",
            self.first, self.second, self.ratio, self.lower_quartile, self.upper_quartile
        )
    }
}

/// Times so many repetitions, in each of which every subject takes a turn, the order reversed each time. `turn` runs a subject once and
/// returns the nanoseconds of what counts. The first tenth warms up and is not counted. One list of times a subject.
pub fn interleave<S>(
    subjects: &mut [S],
    repetitions: usize,
    turn: impl Fn(&mut S) -> f64,
) -> Vec<Vec<f64>> {
    let warm_up = repetitions.div_ceil(10);
    let mut times = vec![Vec::new(); subjects.len()];
    for repetition in 0..warm_up + repetitions {
        for i in 0..subjects.len() {
            let i = if repetition % 2 == 0 {
                i
            } else {
                subjects.len() - 1 - i
            };
            let time = turn(&mut subjects[i]);
            if repetition >= warm_up {
                times[i].push(time);
            }
        }
    }
    times
}

/// Nanoseconds of the thread's CPU time that it takes.
pub fn time(run: impl FnOnce()) -> f64 {
    let start = ThreadTime::now();
    run();
    start.elapsed().as_nanos() as f64
}
