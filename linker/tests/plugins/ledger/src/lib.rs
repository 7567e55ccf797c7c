//! Keeps sums in variables: JSON in and out, configuration, logs and errors, over WASI.

use extism_pdk::{FnResult, LogLevel, WithReturnCode, config, log, plugin_fn, var};
use serde_json::{Value, json};

/// Adds `{"account": NAME, "amount": NUMBER}` to what the account has, and answers with that.
#[plugin_fn]
pub fn add(input: String) -> FnResult<String> {
    let entry: Value = serde_json::from_str(&input)?;
    let Some(account) = entry["account"].as_str() else {
        return Err(WithReturnCode::new(
            extism_pdk::Error::msg("an entry needs an account"),
            3,
        ));
    };
    let amount = entry["amount"].as_i64().unwrap_or(0);
    let before: i64 = match var::get::<String>(account)? {
        Some(sum) => sum.parse()?,
        None => 0,
    };
    let sum = before + amount;
    var::set(account, sum.to_string())?;
    log!(LogLevel::Info, "{account}: {before} + {amount}");
    let currency = config::get("currency")?.unwrap_or_else(|| "none".to_owned());
    Ok(json!({"account": account, "sum": sum, "currency": currency}).to_string())
}
