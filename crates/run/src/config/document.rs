//! A TOML file flattened to `path = value` with the line of each key.

use super::{Table, set_key};
use crate::error::Problem;
use toml::Value;
use toml::de::{DeTable, DeValue};

/// One file's keys, in order, each with the place it stands.
#[derive(Debug, Default)]
pub struct Document {
    /// `(path, value, place)`.
    pub keys: Vec<(String, Value, String)>,
    /// Of each key that holds a list, where its items stand.
    items: Vec<(String, Vec<String>)>,
}

/// Keys that a file may have: ten times what the largest needs. What has more is something else,
/// and would be refused key by key.
const MOST_KEYS: usize = 4096;

/// A value and the place where it stands.
pub type Placed = (Value, String);

impl Document {
    /// Reads `text`; `name` (a file's path, a preset's name) is what places say.
    ///
    /// All syntax errors are returned together with their lines.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        // Where each line but the first begins.
        let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let place =
            |offset: usize| format!("{name}:{}", starts.partition_point(|start| *start <= offset) + 1);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors
                .iter()
                .map(|error| {
                    let at = error.span().map_or(0, |span| span.start);
                    Problem::new(place(at), error.message().replace('\n', ", "))
                })
                .collect());
        }
        let mut document = Self::default();
        document.flatten("", table.get_ref(), &place);
        let keys = document.keys.len();
        if keys > MOST_KEYS {
            let reason = format!("{keys} keys are more than a file may have; nearest: {MOST_KEYS}");
            return Err(vec![Problem::new(name, reason)]);
        }
        Ok(document)
    }

    fn flatten(&mut self, prefix: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.flatten(&format!("{path}."), inner, place);
            } else {
                if let DeValue::Array(items) = value.get_ref() {
                    let places = items.iter().map(|item| place(item.span().start)).collect();
                    self.items.push((path.clone(), places));
                }
                self.keys.push((path, plain(value.get_ref()), place(key.span().start)));
            }
        }
    }

    /// Takes the value of a key out of the document.
    pub fn take(&mut self, path: &str) -> Option<(Value, String)> {
        let at = self.keys.iter().position(|(name, ..)| name == path)?;
        let (_, value, place) = self.keys.remove(at);
        Some((value, place))
    }

    /// Takes a key that holds a list: its items, each with its place. `Err`: it holds something else.
    pub fn take_items(&mut self, path: &str) -> Option<Result<Vec<Placed>, Placed>> {
        let (value, place) = self.take(path)?;
        let places = self.items.iter().find(|(name, _)| name == path).map(|(_, places)| places.clone());
        Some(match (value, places) {
            (Value::Array(items), Some(places)) => Ok(items.into_iter().zip(places).collect()),
            (value, _) => Err((value, place)),
        })
    }

    /// Takes the keys of a table, each by its path within it.
    pub fn take_table(&mut self, name: &str) -> Vec<(String, Value, String)> {
        let within = format!("{name}.");
        let (taken, left) =
            std::mem::take(&mut self.keys).into_iter().partition(|(path, ..)| path.starts_with(&within));
        self.keys = left;
        let taken: Vec<(String, Value, String)> = taken;
        taken
            .into_iter()
            .map(|(path, value, place)| (path[within.len()..].to_owned(), value, place))
            .collect()
    }

    /// Sets every remaining key of the document in `table`, collecting all problems.
    pub fn apply<T: Table>(&self, table: &mut T, problems: &mut Vec<Problem>) {
        for (path, value, place) in &self.keys {
            if let Err(problem) = set_key(table, path, value, place) {
                problems.push(problem);
            }
        }
    }
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(when) => Value::Datetime(*when),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::Table(table.iter().map(|(k, v)| (k.get_ref().to_string(), plain(v.get_ref()))).collect())
        }
    }
}
