//! Tables of named, typed keys: how policies, kernel rules and profiles are data.
//!
//! A type made with [`table!`] knows its keys, their documentation and what
//! each accepts; from that follow TOML in, TOML out, JSON and `--set`. A key
//! is addressed by its path (`churn.pause`).
//!
//! Reading collects every problem of a file, each with its line, instead of
//! stopping at the first.

mod axis;
mod document;
mod near;

pub use axis::{Axis, Count, Ns, Share};
pub use document::Document;
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
}

/// A struct whose fields are keys; made by [`table!`].
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
    /// The key is there; the value does not fit. Holds the reason.
    Value(String),
}

/// Sets a key by path, turning a refusal into a [`Problem`] at `place`.
pub fn set_key<T: Table>(table: &mut T, path: &str, value: &toml::Value, place: &str) -> Result<(), Problem> {
    match table.set(path, value) {
        Ok(()) => Ok(()),
        Err(SetError::Value(reason)) => Err(Problem::new(place, format!("{path}: {reason}"))),
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

/// Declares a struct whose fields are configuration keys.
///
/// A field's first doc line becomes the key's documentation. A field marked
/// `#[section]` is itself a table, addressed with a dotted path.
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident {
            $( #[doc = $doc:literal] $(#[doc = $more:literal])* $kind:ident $field:ident : $Type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $Name {
            $( #[doc = $doc] $(#[doc = $more])* pub $field: $Type, )*
        }

        impl $crate::config::Table for $Name {
            fn keys(prefix: &str, into: &mut Vec<$crate::config::Key>) {
                $( table!(@keys $kind, $Type, stringify!($field), $doc, prefix, into); )*
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
                    $( stringify!($field) => table!(@set $kind, self.$field, rest, value), )*
                    _ => Err($crate::config::SetError::Unknown),
                }
            }

            fn to_table(&self) -> toml::Table {
                let mut table = toml::Table::new();
                $( table.insert(
                    stringify!($field).to_owned(),
                    table!(@show $kind, self.$field),
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
        })
    };
    (@keys section, $Type:ty, $name:expr, $doc:literal, $prefix:ident, $into:ident) => {
        <$Type as $crate::config::Table>::keys(&format!("{}{}.", $prefix, $name), $into)
    };
    (@set key, $self:ident . $field:ident, $rest:ident, $value:ident) => {
        match $rest {
            Some(_) => Err($crate::config::SetError::Unknown),
            None => {
                $self.$field = $crate::config::Axis::parse($value)
                    .map_err($crate::config::SetError::Value)?;
                Ok(())
            }
        }
    };
    (@set section, $self:ident . $field:ident, $rest:ident, $value:ident) => {
        match $rest {
            Some(rest) => $crate::config::Table::set(&mut $self.$field, rest, $value),
            None => Err($crate::config::SetError::Unknown),
        }
    };
    (@show key, $self:ident . $field:ident) => {
        $crate::config::Axis::show(&$self.$field)
    };
    (@show section, $self:ident . $field:ident) => {
        toml::Value::Table($crate::config::Table::to_table(&$self.$field))
    };
}
pub(crate) use table;

/// Declares an axis: an enum whose variants are words in TOML.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident { $( $(#[$vmeta:meta])* $Variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        pub enum $Name { $( $(#[$vmeta])* #[serde(rename = $word)] $Variant, )* }

        impl $crate::config::Axis for $Name {
            fn parse(value: &toml::Value) -> ::std::result::Result<Self, String> {
                let words = [$($word),*];
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                match word.as_str() {
                    $( $word => Ok(Self::$Variant), )*
                    other => Err(format!(
                        "{value} is not one of {}; nearest: {}",
                        words.join(", "),
                        $crate::config::nearest(other, words).unwrap_or_default(),
                    )),
                }
            }
            fn show(&self) -> toml::Value {
                match self { $( Self::$Variant => toml::Value::from($word), )* }
            }
            fn expected() -> String {
                [$($word),*].join(" | ")
            }
        }
    };
}
pub(crate) use words;
