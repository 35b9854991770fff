//! Settings as plain data: the value types that axes have, and how structs of them are declared.
//!
//! A struct made with [`table!`](crate::table) hands its keys on to whoever wants to read or
//! show them, as a macro: how that is done (TOML, JSON) is no matter of the machine's.

use serde::{Serialize, Serializer};

/// A share or probability, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Share(pub f64);

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

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(limit) => serializer.serialize_u32(*limit),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

/// A length of time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Ns(pub u64);

impl Ns {
    /// The length in the largest unit, up to seconds, in which it is a whole number.
    pub fn short(self) -> String {
        let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("ns", 1)];
        let (unit, ns) = units.into_iter().find(|(_, ns)| self.0.is_multiple_of(*ns)).unwrap_or(("ns", 1));
        format!("{}{unit}", self.0 / ns)
    }
}

/// Declares a struct whose fields are settings.
///
/// A field's first doc line says what the setting means. `key` is a value,
/// `section` a struct of this kind. A range after a whole number's type is from where
/// to where it goes, if not as far as the type. What follows `=>` names a macro that
/// hands the struct to the caller's `impl_table!`.
#[macro_export]
macro_rules! table {
    ($(#[$meta:meta])* pub struct $Name:ident { $($fields:tt)* } => $keys:ident) => {
        $crate::table! { $(#[$meta])* pub struct $Name { $($fields)* } }

        /// Hands the keys to the caller's `impl_table!`.
        #[macro_export]
        macro_rules! $keys {
            () => { impl_table! { $Name { $($fields)* } } };
        }
    };
    (
        $(#[$meta:meta])*
        pub struct $Name:ident {
            $(
                #[doc = $doc:literal] $(#[doc = $more:literal])*
                $kind:ident $field:ident : $Type:ty $(= $range:expr)?,
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $Name {
            $( #[doc = $doc] $(#[doc = $more])* pub $field: $Type, )*
        }
    };
}

/// Declares an axis: an enum whose variants have a word each.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident { $( $(#[$vmeta:meta])* $Variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        pub enum $Name { $( $(#[$vmeta])* #[serde(rename = $word)] $Variant, )* }

        impl $Name {
            /// Every one with its word.
            pub const WORDS: &[(&'static str, Self)] = &[$(($word, Self::$Variant)),*];
        }
    };
}
