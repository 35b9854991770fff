//! The value types that keys can have.

use super::near::{length, nearest, number};
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
}

impl Axis for u32 {
    fn parse(value: &Value) -> Result<Self, String> {
        let word = word(value);
        // A cast of a number out of range gives the nearest one in it.
        word.parse().map_err(|_| not::<Self>(value, number(&word).unwrap_or(1.0) as u32))
    }
    fn show(&self) -> Value {
        Value::from(i64::from(*self))
    }
    fn expected() -> String {
        format!("a whole number from 0 to {}", u32::MAX)
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
        "a whole number or \"unlimited\"".into()
    }
}

impl Axis for Ns {
    fn parse(value: &Value) -> Result<Self, String> {
        match word(value).as_str() {
            "none" | "0" => Ok(Self(0)),
            word => read_length(word).ok_or_else(|| {
                not::<Self>(
                    value,
                    length(word).filter(|&ns| ns > 0).map_or("none".into(), |ns| Self(ns).short()),
                )
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
        format!("{LENGTH}, or \"none\"")
    }
}

const LENGTH: &str = "a length of time such as \"50us\" or \"2s\"";

/// A length of time as people write it: `50us`, `2s`.
fn read_length(word: &str) -> Option<Ns> {
    let length = humantime::parse_duration(word).ok()?;
    u64::try_from(length.as_nanos()).ok().map(Ns)
}

/// Reads a length of time where `none` is none; `Err` is as that of [`Axis::parse`].
pub fn parse_length(word: &str) -> Result<Ns, String> {
    read_length(word).ok_or_else(|| {
        // Longer ones are for no clock to measure.
        let near = Ns(length(word).unwrap_or(2_000_000_000).min(10u64.pow(18))).short();
        format!("{word:?} is not {LENGTH}; nearest: {near}")
    })
}
