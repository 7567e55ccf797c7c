//! A plugin as people write them, with everything that the PDK for Rust offers.

use std::{collections::BTreeMap, fs, time::SystemTime};

use extism_pdk::{
    Error, FnResult, HttpRequest, Json, LogLevel, WithReturnCode, config, http, log, plugin_fn, var,
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Serialize)]
struct Receipt {
    item: String,
    total: f64,
    sold: u32,
    greeting: String,
}

#[extism_pdk::host_fn("extism:host/user")]
unsafe extern "ExtismHost" {
    fn shout(text: String) -> String;
}

/// JSON, configuration, variables, a host function.
#[plugin_fn]
pub fn order(Json(order): Json<Order>) -> FnResult<Json<Receipt>> {
    let price: f64 = config::get("price")?
        .unwrap_or_else(|| "1".to_owned())
        .parse()?;
    let sold = var::get::<u32>("sold")?.unwrap_or(0) + order.count;
    var::set("sold", sold)?;
    let greeting = unsafe { shout(format!("thank you for {}", order.count))? };
    Ok(Json(Receipt {
        item: order.item,
        total: price * f64::from(order.count),
        sold,
        greeting,
    }))
}

/// An error with a code of its own.
#[plugin_fn]
pub fn refuse(reason: String) -> FnResult<()> {
    Err(WithReturnCode::new(Error::msg(reason), 42))
}

#[plugin_fn]
pub fn panic(text: String) -> FnResult<()> {
    panic!("{text}")
}

#[plugin_fn]
pub fn fetch(url: String) -> FnResult<String> {
    let response = http::request::<()>(&HttpRequest::new(url).with_method("GET"), None)?;
    Ok(format!(
        "{} {}",
        response.status_code(),
        String::from_utf8(response.body())?
    ))
}

#[plugin_fn]
pub fn note(text: String) -> FnResult<()> {
    log!(LogLevel::Info, "noted: {text}");
    Ok(())
}

/// Files and clocks of WASI.
#[plugin_fn]
pub fn save(text: String) -> FnResult<u64> {
    fs::write("/data/saved.txt", &text)?;
    let read = fs::read_to_string("/data/saved.txt")?;
    assert_eq!(read, text);
    Ok(SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs())
}

/// Megabytes, sorted by the plugin's own allocator.
#[plugin_fn]
pub fn count_words(text: String) -> FnResult<Json<BTreeMap<String, usize>>> {
    let mut counts = BTreeMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    Ok(Json(counts))
}
