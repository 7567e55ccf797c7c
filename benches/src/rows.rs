//! The rows of the table of times, read from `rows.json`, which `v8.mjs` reads too.

use serde::Deserialize;
use serde_json::Value;

/// A row.
#[derive(Deserialize)]
pub struct Row {
    /// What the table calls it.
    pub name: String,
    /// The most that the ratio should be.
    pub goal: f64,
    /// Repetitions that count.
    pub repetitions: usize,
    /// How many times it runs in a repetition, in one measurement.
    pub runs: u32,
    /// What happens before each repetition, untimed.
    pub before: Vec<Step>,
    /// What is timed: a function of the plugin, or `call` or `instantiate`, which the host does.
    pub run: Step,
}

/// A function with its arguments.
#[derive(Deserialize)]
#[serde(from = "Vec<Value>")]
pub struct Step {
    /// Its name.
    pub name: String,
    /// All are numbers below 2^31.
    pub arguments: Vec<i32>,
}

impl From<Vec<Value>> for Step {
    fn from(values: Vec<Value>) -> Self {
        let (name, arguments) = values.split_first().expect("a step has a name");
        Self {
            name: name.as_str().expect("a name is a string").to_owned(),
            arguments: arguments
                .iter()
                .map(|value| value.as_i64().expect("an argument is a number") as i32)
                .collect(),
        }
    }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("../rows.json")).expect("rows.json is as Row says")
}
