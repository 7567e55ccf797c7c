//! Counts the vowels of its input: the plugin that every Extism host is tried with.

use extism_pdk::{FnResult, Json, config, plugin_fn, var};
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    /// Vowels in this call's input.
    count: u64,
    /// Vowels in the inputs of all calls so far, kept in the plugin's variable `total`.
    total: u64,
    /// What counts as a vowel: the config value `vowels`, if there is one.
    vowels: String,
}

#[plugin_fn]
pub fn count_vowels(input: String) -> FnResult<Json<Report>> {
    let vowels = config::get("vowels")?.unwrap_or_else(|| "aeiouAEIOU".to_owned());
    let count = input
        .chars()
        .filter(|&letter| vowels.contains(letter))
        .count() as u64;
    let total = var::get::<u64>("total")?.unwrap_or(0) + count;
    var::set("total", total)?;
    Ok(Json(Report {
        count,
        total,
        vowels,
    }))
}
