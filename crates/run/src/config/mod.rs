//! Tables of named, typed keys: how policies, kernel rules and profiles are data.
//!
//! A type made with `table!` knows its keys, their documentation and what
//! each accepts; from that follow TOML in, TOML out, JSON and `--set`. A key
//! is addressed by its path (`churn.pause`).
//!
//! Reading collects every problem of a file, each with its line, instead of
//! stopping at the first.

mod axis;
mod document;
mod name;
mod near;
mod tables;
pub(crate) mod whole;

pub use axis::{Axis, parse_length};
pub use document::Document;
pub use gupstress_machine::data::{Count, Ns, Share};
pub use name::check_name;
pub use near::{nearest, number};

use crate::error::Problem;

/// One key of a table.
#[derive(Debug, Clone)]
pub struct Key {
    /// Path inside the table, dotted.
    pub path: String,
    /// What the key means, one line.
    pub doc: &'static str,
    /// What values are accepted, for messages.
    pub expected: String,
    /// Values just outside of that, each with the nearest that is accepted.
    pub outside: Vec<(toml::Value, String)>,
}

/// A struct whose fields are keys; made by `table!`.
pub trait Table {
    /// Appends every key, with `prefix` before its path.
    fn keys(prefix: &str, into: &mut Vec<Key>);
    /// Sets one key; `Err` says why not, without the key's name.
    fn set(&mut self, path: &str, value: &toml::Value) -> Result<(), SetError>;
    /// All keys as a TOML table.
    fn to_table(&self) -> toml::Table;
}

/// Why [`Table::set`] refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// No such key.
    Unknown,
    /// It is a table of keys.
    Section,
    /// The key is there; the value does not fit. Holds the reason.
    Value(String),
}

/// Sets a key by path, turning a refusal into a [`Problem`] at `place`.
pub fn set_key<T: Table>(table: &mut T, path: &str, value: &toml::Value, place: &str) -> Result<(), Problem> {
    match table.set(path, value) {
        Ok(()) => Ok(()),
        Err(SetError::Value(reason)) => Err(Problem::new(place, format!("{path}: {reason}"))),
        Err(SetError::Section) => {
            let mut keys = Vec::new();
            T::keys("", &mut keys);
            let within = keys.iter().find(|key| key.path.starts_with(&format!("{path}.")));
            let near = within.map_or(path, |key| key.path.as_str());
            let what = if value.is_array() { "a list".to_owned() } else { value.to_string() };
            Err(Problem::new(place, format!("{path}: {what} is not a table of keys; nearest: {near}")))
        }
        Err(SetError::Unknown) => {
            let mut keys = Vec::new();
            T::keys("", &mut keys);
            let hint = nearest(path, keys.iter().map(|key| key.path.as_str()))
                .map(|name| format!("; nearest: {name}"))
                .unwrap_or_default();
            Err(Problem::new(place, format!("no key {path:?}{hint}")))
        }
    }
}

/// Every key of `table` as TOML text, each under its documentation.
pub fn to_toml<T: Table>(table: &T) -> String {
    let mut keys = Vec::new();
    T::keys("", &mut keys);
    let mut text = String::new();
    write_table(&mut text, &table.to_table(), "", &keys);
    text
}

/// Writes a table's own keys, then its sub-tables, as TOML wants them.
fn write_table(text: &mut String, table: &toml::Table, prefix: &str, keys: &[Key]) {
    use std::fmt::Write as _;
    for (name, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        let path = format!("{prefix}{name}");
        if let Some(key) = keys.iter().find(|key| key.path == path && !key.doc.is_empty()) {
            let _ = writeln!(text, "# {} ({})", key.doc.trim(), key.expected);
        }
        let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let _ = if bare { writeln!(text, "{name} = {value}") } else { writeln!(text, "{name:?} = {value}") };
    }
    for (name, value) in table {
        if let Some(inner) = value.as_table().filter(|inner| !inner.is_empty()) {
            let _ = write!(text, "\n[{prefix}{name}]\n");
            write_table(text, inner, &format!("{prefix}{name}."), keys);
        }
    }
}

/// Implements [`Table`] for a struct of [`gupstress_machine::table!`].
///
/// A field's first doc line becomes the key's documentation. A `section` is
/// itself a table, addressed with a dotted path.
macro_rules! impl_table {
    (
        $Name:ident {
            $(
                #[doc = $doc:literal] $(#[doc = $more:literal])*
                $kind:ident $field:ident : $Type:ty $(= $range:expr)?,
            )*
        }
    ) => {
        impl $crate::config::Table for $Name {
            fn keys(prefix: &str, into: &mut Vec<$crate::config::Key>) {
                $( $crate::config::impl_table!(
                    @keys $kind, $Type, stringify!($field), $doc, prefix, into $(, $range)?
                ); )*
            }

            fn set(
                &mut self,
                path: &str,
                value: &toml::Value,
            ) -> ::std::result::Result<(), $crate::config::SetError> {
                let (head, rest) = match path.split_once('.') {
                    Some((head, rest)) => (head, Some(rest)),
                    None => (path, None),
                };
                match head {
                    $( stringify!($field) => $crate::config::impl_table!(
                        @set $kind, self.$field, rest, value $(, $range)?
                    ), )*
                    _ => Err($crate::config::SetError::Unknown),
                }
            }

            fn to_table(&self) -> toml::Table {
                let mut table = toml::Table::new();
                $( table.insert(
                    stringify!($field).to_owned(),
                    $crate::config::impl_table!(@show $kind, self.$field),
                ); )*
                table
            }
        }
    };
    (@keys key, $Type:ty, $name:expr, $doc:literal, $prefix:ident, $into:ident) => {
        $into.push($crate::config::Key {
            path: format!("{}{}", $prefix, $name),
            doc: $doc,
            expected: <$Type as $crate::config::Axis>::expected(),
            outside: <$Type as $crate::config::Axis>::outside(),
        })
    };
    (@keys key, $Type:ty, $name:expr, $doc:literal, $prefix:ident, $into:ident, $range:expr) => {
        $into.push($crate::config::Key {
            path: format!("{}{}", $prefix, $name),
            doc: $doc,
            expected: $crate::config::whole::expected(&$range),
            outside: $crate::config::whole::outside(&$range),
        })
    };
    (@keys section, $Type:ty, $name:expr, $doc:literal, $prefix:ident, $into:ident) => {
        <$Type as $crate::config::Table>::keys(&format!("{}{}.", $prefix, $name), $into)
    };
    (@set key, $self:ident . $field:ident, $rest:ident, $value:ident) => {
        $crate::config::impl_table!(@put $self.$field, $rest, $crate::config::Axis::parse($value))
    };
    (@set key, $self:ident . $field:ident, $rest:ident, $value:ident, $range:expr) => {
        $crate::config::impl_table!(@put $self.$field, $rest, $crate::config::whole::parse($value, &$range))
    };
    (@put $self:ident . $field:ident, $rest:ident, $parsed:expr) => {
        match $rest {
            Some(_) => Err($crate::config::SetError::Unknown),
            None => {
                $self.$field = $parsed.map_err($crate::config::SetError::Value)?;
                Ok(())
            }
        }
    };
    (@set section, $self:ident . $field:ident, $rest:ident, $value:ident) => {
        match $rest {
            Some(rest) => $crate::config::Table::set(&mut $self.$field, rest, $value),
            None => Err($crate::config::SetError::Section),
        }
    };
    (@show key, $self:ident . $field:ident) => {
        $crate::config::Axis::show(&$self.$field)
    };
    (@show section, $self:ident . $field:ident) => {
        toml::Value::Table($crate::config::Table::to_table(&$self.$field))
    };
}
pub(crate) use impl_table;

/// Declares a struct whose fields are configuration keys.
#[cfg_attr(loom, allow(unused_macros))]
macro_rules! table {
    ($(#[$meta:meta])* pub struct $Name:ident { $($keys:tt)* }) => {
        gupstress_machine::table! { $(#[$meta])* pub struct $Name { $($keys)* } }
        $crate::config::impl_table! { $Name { $($keys)* } }
    };
}
#[cfg_attr(loom, allow(unused_imports))]
pub(crate) use table;

/// Implements [`Axis`] for enums of [`gupstress_machine::words!`].
macro_rules! impl_words {
    ($($Name:ident)*) => {$(
        impl $crate::config::Axis for $Name {
            fn parse(value: &toml::Value) -> ::std::result::Result<Self, String> {
                let words = || Self::WORDS.iter().map(|(word, _)| *word);
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, it)| *it).ok_or_else(|| {
                    format!(
                        "{value} is not one of {}; nearest: {}",
                        words().collect::<Vec<_>>().join(", "),
                        $crate::config::nearest(&word, words()).unwrap_or_default(),
                    )
                })
            }
            fn show(&self) -> toml::Value {
                let word = Self::WORDS.iter().find(|(_, it)| it == self);
                toml::Value::from(word.expect("each has a word").0)
            }
            fn expected() -> String {
                Self::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" | ")
            }
            fn outside() -> Vec<(toml::Value, String)> {
                let typo = |(word, _): &(&str, Self)| (format!("{word}?").into(), (*word).to_owned());
                Self::WORDS.iter().map(typo).collect()
            }
        }
    )*};
}
pub(crate) use impl_words;

/// Declares an axis: an enum whose variants are words in TOML.
#[cfg_attr(loom, allow(unused_macros))]
macro_rules! words {
    ($(#[$meta:meta])* pub enum $Name:ident { $($variants:tt)* }) => {
        gupstress_machine::words! { $(#[$meta])* pub enum $Name { $($variants)* } }
        $crate::config::impl_words!($Name);
    };
}
#[cfg_attr(loom, allow(unused_imports))]
pub(crate) use words;
