//! The value types that keys can have.

use serde::{Serialize, Serializer};
use toml::Value;

/// A type that a configuration key can have.
pub trait Axis: Sized {
    /// Reads a TOML value; `Err` names the value and what is accepted.
    fn parse(value: &Value) -> Result<Self, String>;
    /// The TOML value that [`parse`](Axis::parse) reads back.
    fn show(&self) -> Value;
    /// What is accepted, in a few words.
    fn expected() -> String;
}

fn not<T: Axis>(value: &Value) -> String {
    format!("{value} is not {}", T::expected())
}

impl Axis for bool {
    fn parse(value: &Value) -> Result<Self, String> {
        // `--set` hands words over as strings.
        match value {
            Value::Boolean(flag) => Ok(*flag),
            Value::String(word) if word == "true" => Ok(true),
            Value::String(word) if word == "false" => Ok(false),
            _ => Err(not::<Self>(value)),
        }
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
        value.as_str().map(str::to_owned).ok_or_else(|| not::<Self>(value))
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
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::String(word) => word.parse().ok(),
            _ => None,
        };
        number.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| not::<Self>(value))
    }
    fn show(&self) -> Value {
        Value::from(i64::from(*self))
    }
    fn expected() -> String {
        format!("a whole number from 0 to {}", u32::MAX)
    }
}

/// A share or probability, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Share(pub f64);

impl Axis for Share {
    fn parse(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            Value::String(word) => word.parse().ok(),
            _ => None,
        };
        number.filter(|n| (0.0..=1.0).contains(n)).map(Share).ok_or_else(|| not::<Self>(value))
    }
    fn show(&self) -> Value {
        Value::from(self.0)
    }
    fn expected() -> String {
        "a number from 0 to 1".into()
    }
}

/// How often something may happen; `unlimited` is a word of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most so often.
    AtMost(u32),
    /// No limit.
    Unlimited,
}

impl Count {
    /// The limit, 0 where there is none.
    pub fn or_zero(self) -> u32 {
        match self {
            Self::AtMost(limit) => limit,
            Self::Unlimited => 0,
        }
    }

    /// Whether `n` is beyond the limit.
    pub fn exceeded_by(self, n: u32) -> bool {
        matches!(self, Self::AtMost(limit) if n > limit)
    }
}

impl Axis for Count {
    fn parse(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("unlimited") {
            return Ok(Self::Unlimited);
        }
        u32::parse(value).map(Self::AtMost).map_err(|_| not::<Self>(value))
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

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.show().serialize(serializer)
    }
}

/// A length of time in nanoseconds, written `50us`, `2s`; `none` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ns(pub u64);

impl Axis for Ns {
    fn parse(value: &Value) -> Result<Self, String> {
        let word = value.as_str().ok_or_else(|| not::<Self>(value))?;
        if word == "none" || word == "0" {
            return Ok(Self(0));
        }
        humantime::parse_duration(word)
            .ok()
            .and_then(|length| u64::try_from(length.as_nanos()).ok())
            .map(Ns)
            .ok_or_else(|| not::<Self>(value))
    }
    fn show(&self) -> Value {
        if self.0 == 0 {
            return Value::from("none");
        }
        Value::from(humantime::format_duration(std::time::Duration::from_nanos(self.0)).to_string())
    }
    fn expected() -> String {
        "a length of time such as \"50us\" or \"2s\", or \"none\"".into()
    }
}

impl Serialize for Ns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<T: Axis> Axis for Vec<T> {
    fn parse(value: &Value) -> Result<Self, String> {
        value.as_array().ok_or_else(|| not::<Self>(value))?.iter().map(T::parse).collect()
    }
    fn show(&self) -> Value {
        Value::Array(self.iter().map(Axis::show).collect())
    }
    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }
}
