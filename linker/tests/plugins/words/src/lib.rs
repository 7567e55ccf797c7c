//! Counts words, with all that the standard library wants of WASI: random numbers for hashing, clocks, stdout, arguments.

use extism_pdk::{FnResult, plugin_fn};
use std::{collections::HashMap, time::Instant};

/// The words of a text with their numbers, the most frequent first, one a line.
#[plugin_fn]
pub fn count(text: String) -> FnResult<String> {
    let start = Instant::now();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(word, count)| (usize::MAX - count, word));
    println!("counted in {:?}", start.elapsed());
    let lines: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{word} {count}\n"))
        .collect();
    Ok(lines.concat())
}

/// As many bytes as the number in the input says, so that the plugin's memory has to grow: and a sum over them.
#[plugin_fn]
pub fn grow(length: String) -> FnResult<Vec<u8>> {
    let length: usize = length.parse()?;
    let bytes: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
    Ok([
        &bytes[..length.min(100_000)],
        &(bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>()).to_le_bytes(),
    ]
    .concat())
}

#[plugin_fn]
pub fn arguments(_: ()) -> FnResult<String> {
    Ok(std::env::args().collect::<Vec<_>>().join(" "))
}

#[plugin_fn]
pub fn panics(text: String) -> FnResult<String> {
    panic!("{text}");
}
