//! The table of all engines, and whether they showed what they should.

use std::collections::BTreeSet;

use serde::Deserialize;

/// What is known of an engine: a line of the results.
#[derive(Deserialize)]
struct Engine {
    asked: String,
    /// The kernel's file.
    kernel: String,
    /// The runner's exit status.
    status: i32,
    /// What it printed; nothing if the engine could not be had, or its runner broke.
    shown: Option<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    version: String,
    cases: usize,
    failed: usize,
    plugins: usize,
    plugins_failed: usize,
    call_us: Option<f64>,
    hash: Option<String>,
    four_pages: Option<bool>,
    context: Option<bool>,
}

pub(crate) struct Report {
    pub(crate) markdown: String,
    /// Why this is not a success.
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// From lines of JSON. On the peer's kernel the success is that the conformance cases find it out everywhere.
    pub(crate) fn new(results: &str, peer: bool) -> serde_json::Result<Self> {
        let engines: Vec<Engine> = results.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut rows = vec![HEAD.map(str::to_owned)];
        let base = engines.iter().find(|engine| engine.asked == "wasmtime");
        let base = base.and_then(|engine| engine.shown.as_ref()?.call_us);
        rows.extend(engines.iter().map(|engine| engine.row(base)));
        let mut problems: Vec<String> = engines.iter().flat_map(|engine| engine.problems(peer)).collect();
        if engines.is_empty() {
            problems.push("no engine was asked for".to_owned());
        }
        if !peer {
            let all = |value: fn(&Shown) -> String| -> BTreeSet<_> {
                engines.iter().filter_map(|engine| engine.shown.as_ref()).map(value).collect()
            };
            let hashes = all(|shown| shown.hash.clone().unwrap_or_default());
            if hashes.len() > 1 {
                problems.push(format!("the memory differs between engines: {hashes:?}"));
            }
            let cases = all(|shown| format!("{} cases, {} checks", shown.cases, shown.plugins));
            if cases.len() > 1 {
                problems.push(format!("engines did different work: {cases:?}"));
            }
        }
        Ok(Self { markdown: markdown(&rows), problems })
    }
}

const HEAD: [&str; 9] = [
    "engine",
    "version",
    "file",
    "cases passed",
    "plugins passed",
    "call, Wasmtime = 1",
    "memory hash",
    "four pages",
    "context",
];

impl Engine {
    fn row(&self, base: Option<f64>) -> [String; 9] {
        let Some(shown) = &self.shown else {
            let mut row = HEAD.map(|_| "-".to_owned());
            row[0].clone_from(&self.asked);
            row[1] = "NOT HAD".to_owned();
            return row;
        };
        let ratio = base.zip(shown.call_us).map(|(base, time)| format!("{:.1}", time / base));
        let yes = |value: Option<bool>| value.map_or("-", |value| if value { "yes" } else { "NO" }).to_owned();
        [
            self.asked.clone(),
            shown.version.clone(),
            self.kernel.clone(),
            format!("{} of {}", shown.cases - shown.failed, shown.cases),
            format!("{} of {}", shown.plugins - shown.plugins_failed, shown.plugins),
            ratio.unwrap_or_else(|| "-".to_owned()),
            shown.hash.clone().unwrap_or_else(|| "-".to_owned()),
            yes(shown.four_pages),
            yes(shown.context),
        ]
    }

    fn problems(&self, peer: bool) -> Vec<String> {
        let problem = |text: &str| format!("{} on {}: {text}", self.asked, self.kernel);
        let Some(shown) = &self.shown else {
            return vec![problem("could not be had, or its runner broke")];
        };
        if peer {
            let found = shown.failed > 0 && self.status != 0;
            return if found { vec![] } else { vec![problem("did not find out that this is another kernel")] };
        }
        let faults = [
            (shown.cases == 0, "ran no case"),
            (shown.failed > 0, "failed cases"),
            (shown.plugins == 0 || shown.plugins_failed > 0, "failed with plugins"),
            (shown.call_us.is_none(), "made no call"),
            (shown.hash.is_none(), "did not end the trace"),
            (shown.four_pages == Some(false), "failed in four pages"),
            (shown.context == Some(false), "lost the host context"),
            (self.status != 0, "its runner failed"),
        ];
        faults.iter().filter(|(bad, _)| *bad).map(|(_, text)| problem(text)).collect()
    }
}

/// A table that is aligned also as plain text.
fn markdown(rows: &[[String; 9]]) -> String {
    let widths: Vec<_> = (0..9).map(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0)).collect();
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        text += &line(row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect());
        if number == 0 {
            text += &line(widths.iter().map(|&width| "-".repeat(width)).collect());
        }
    }
    text
}
