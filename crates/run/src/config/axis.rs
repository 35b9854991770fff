//! The value types that keys can have.

use super::near::{length, nearest, number};
use super::whole;
use gupstress_machine::data::{Count, Ns, Share};
use toml::Value;

/// A type that a configuration key can have.
pub trait Axis: Sized {
    /// Reads a TOML value; `Err` names the value, what is accepted and what is nearest.
    fn parse(value: &Value) -> Result<Self, String>;
    /// The TOML value that [`parse`](Axis::parse) reads back.
    fn show(&self) -> Value;
    /// What is accepted, in a few words.
    fn expected() -> String;
    /// Values just outside of that, each with the nearest that is accepted.
    fn outside() -> Vec<(Value, String)>;
}

fn not<T: Axis>(value: &Value, near: impl std::fmt::Display) -> String {
    format!("{value} is not {}; nearest: {near}", T::expected())
}

/// A value as a word; `--set` hands numbers and flags over so, too.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Axis for bool {
    fn parse(value: &Value) -> Result<Self, String> {
        let word = word(value);
        word.parse().map_err(|_| {
            let near = match word.to_lowercase().as_str() {
                "yes" | "on" | "1" => "true",
                "no" | "off" | "0" | "none" => "false",
                other => nearest(other, ["true", "false"]).unwrap_or_default(),
            };
            not::<Self>(value, near)
        })
    }
    fn show(&self) -> Value {
        Value::from(*self)
    }
    fn expected() -> String {
        "true or false".into()
    }
    fn outside() -> Vec<(Value, String)> {
        vec![("True".into(), "true".into()), (0.into(), "false".into())]
    }
}

impl Axis for String {
    fn parse(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| not::<Self>(value, format!("\"{value}\"")))
    }
    fn show(&self) -> Value {
        Value::from(self.as_str())
    }
    fn expected() -> String {
        "text".into()
    }
    fn outside() -> Vec<(Value, String)> {
        vec![(7.into(), "\"7\"".into())]
    }
}

impl Axis for u32 {
    fn parse(value: &Value) -> Result<Self, String> {
        whole::parse(value, &(0..=Self::MAX))
    }
    fn show(&self) -> Value {
        Value::from(i64::from(*self))
    }
    fn expected() -> String {
        whole::expected(&(0..=Self::MAX))
    }
    fn outside() -> Vec<(Value, String)> {
        whole::outside(&(0..=Self::MAX))
    }
}

impl Axis for Share {
    fn parse(value: &Value) -> Result<Self, String> {
        let word = word(value);
        let share = word.parse().ok().filter(|n| (0.0..=1.0).contains(n)).map(Share);
        share.ok_or_else(|| not::<Self>(value, number(&word).unwrap_or(0.0).clamp(0.0, 1.0)))
    }
    fn show(&self) -> Value {
        Value::from(self.0)
    }
    fn expected() -> String {
        "a number from 0 to 1".into()
    }
    fn outside() -> Vec<(Value, String)> {
        vec![((-0.001).into(), "0".into()), (1.001.into(), "1".into())]
    }
}

impl Axis for Count {
    fn parse(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("unlimited") {
            return Ok(Self::Unlimited);
        }
        u32::parse(value).map(Self::AtMost).map_err(|_| match number(&word(value)) {
            Some(number) => not::<Self>(value, number as u32),
            None => not::<Self>(value, "unlimited"),
        })
    }
    fn show(&self) -> Value {
        match self {
            Self::AtMost(limit) => Value::from(i64::from(*limit)),
            Self::Unlimited => Value::from("unlimited"),
        }
    }
    fn expected() -> String {
        format!("{}, or \"unlimited\"", u32::expected())
    }
    fn outside() -> Vec<(Value, String)> {
        u32::outside()
    }
}

impl Axis for Ns {
    fn parse(value: &Value) -> Result<Self, String> {
        match word(value).as_str() {
            "none" | "0" => Ok(Self(0)),
            word => read_length(word).filter(|it| *it <= LONGEST).ok_or_else(|| {
                let near = length(word).filter(|&ns| ns > 0);
                not::<Self>(value, near.map_or("none".into(), |ns| Self(ns).min(LONGEST).short()))
            }),
        }
    }
    fn show(&self) -> Value {
        if self.0 == 0 {
            return Value::from("none");
        }
        Value::from(humantime::format_duration(std::time::Duration::from_nanos(self.0)).to_string())
    }
    fn expected() -> String {
        format!("{LENGTH}, up to {}, or \"none\"", LONGEST.short())
    }
    fn outside() -> Vec<(Value, String)> {
        let longer = format!("{}ns", LONGEST.0 + 1);
        vec![("-1ns".into(), "none".into()), (longer.into(), LONGEST.short())]
    }
}

/// Some thirty years: longer ones are for no clock to measure, and sums of some must not overflow.
const LONGEST: Ns = Ns(1_000_000_000_000_000_000);

const LENGTH: &str = "a length of time such as \"50us\" or \"2s\"";

/// A length of time as people write it: `50us`, `2s`.
fn read_length(word: &str) -> Option<Ns> {
    let length = humantime::parse_duration(word).ok()?;
    u64::try_from(length.as_nanos()).ok().map(Ns)
}

/// Reads a length of time where `none` is none; `Err` is as that of [`Axis::parse`].
pub fn parse_length(word: &str) -> Result<Ns, String> {
    read_length(word).ok_or_else(|| {
        let near = Ns(length(word).unwrap_or(2_000_000_000)).min(LONGEST).short();
        format!("{word:?} is not {LENGTH}; nearest: {near}")
    })
}
