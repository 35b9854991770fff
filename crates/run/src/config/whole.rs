//! Whole numbers from somewhere to somewhere.

use super::near::number;
use std::ops::RangeInclusive;
use toml::Value;

/// What is accepted, in a few words.
pub fn expected(range: &RangeInclusive<u32>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// Reads a number of the range; `Err` is as that of [`Axis::parse`](super::Axis::parse).
pub fn parse(value: &Value, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    word.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
        let (low, high) = (f64::from(*range.start()), f64::from(*range.end()));
        let near = number(&word).unwrap_or(low.max(1.0)).clamp(low, high);
        format!("{value} is not {}; nearest: {near}", expected(range), near = near as u32)
    })
}

/// What lies just outside of the range, each with its nearest end.
pub fn outside(range: &RangeInclusive<u32>) -> Vec<(Value, String)> {
    let (low, high) = (i64::from(*range.start()), i64::from(*range.end()));
    [(low - 1, low), (high + 1, high)].map(|(bad, near)| (bad.into(), near.to_string())).into()
}
