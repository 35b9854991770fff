//! What may or must be found in the ends of a concurrent scenario: `[exists]` and `[forbid]`.

use crate::config::{Document, nearest, number};
use crate::error::Problem;
use crate::observe::Event;
use crate::ops::Errno;
use std::fmt;
use toml::Value;

/// Something that is true or not of one end, apart from counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Some pinned page must stay movable.
    Unsafe,
    /// Some call never ended.
    Stuck,
    /// Some call failed without need.
    Spurious,
    /// An invariant is broken.
    Broken,
}

const FACTS: [(&str, Fact); 4] = [
    ("unsafe", Fact::Unsafe),
    ("stuck", Fact::Stuck),
    ("spurious", Fact::Spurious),
    ("broken", Fact::Broken),
];

/// How two counts compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `==`
    Is,
    /// `!=`
    Not,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// Longest first, so that `<=` is not read as `<`.
const RELATIONS: [(&str, Relation); 6] = [
    ("==", Relation::Is),
    ("!=", Relation::Not),
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Below),
    (">", Relation::Above),
];

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// The last pin of a thread comes to `ok`, `stuck` or an errno.
    Result {
        /// The thread.
        thread: String,
        /// What it comes to.
        end: String,
    },
    /// A counter, of one thread or of everyone, since the threads began.
    Count {
        /// The thread; none: everyone.
        thread: Option<String>,
        /// What is counted.
        event: Event,
        /// Against what.
        relation: Relation,
        /// The other side.
        count: u64,
    },
    /// A fact is so, or not.
    Fact {
        /// Which.
        fact: Fact,
        /// Whether it is to be so.
        holds: bool,
    },
}

/// Clauses that hold together in one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Kernels that it is about; none: all.
    pub kernels: Vec<String>,
    /// All of them must hold.
    pub clauses: Vec<Clause>,
}

/// What one end of a concurrent scenario shows.
pub trait End {
    /// What a thread's last pin came to: `ok`, `stuck` or an errno's name; none if it did not pin.
    fn result(&self, thread: &str) -> Option<String>;
    /// What was counted since the threads began, by one of them or by everyone.
    fn count(&self, thread: Option<&str>, event: Event) -> u64;
    /// Whether a fact is so.
    fn fact(&self, fact: Fact) -> bool;
}

impl Fact {
    fn name(self) -> &'static str {
        FACTS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl Relation {
    fn sign(self) -> &'static str {
        RELATIONS.iter().find(|(_, known)| *known == self).map_or("", |(sign, _)| sign)
    }

    /// Whether `left` stands in this relation to `right`.
    pub fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Is => left == right,
            Self::Not => left != right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
            Self::Above => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

impl Condition {
    /// Whether it is about a kernel.
    pub fn is_about(&self, kernel: &str) -> bool {
        self.kernels.is_empty() || self.kernels.iter().any(|known| known == kernel)
    }

    /// Whether it asks for a thread.
    pub fn mentions(&self, name: &str) -> bool {
        self.clauses.iter().any(|clause| match clause {
            Clause::Result { thread, .. } => thread == name,
            Clause::Count { thread, .. } => thread.as_deref() == Some(name),
            Clause::Fact { .. } => false,
        })
    }

    /// Whether it asks for a fact.
    pub fn asks(&self, wanted: Fact) -> bool {
        self.clauses.iter().any(|clause| matches!(clause, Clause::Fact { fact, .. } if *fact == wanted))
    }

    /// The table that it is read from.
    pub fn write(&self) -> toml::Table {
        let clauses = self.clauses.iter().map(|clause| match clause {
            Clause::Result { thread, end } => (format!("{thread}.result"), Value::from(end.clone())),
            Clause::Count { thread, event, relation, count } => {
                let of = thread.as_ref().map_or(String::new(), |thread| format!("{thread}."));
                (format!("{of}{}", event.name()), Value::from(format!("{} {count}", relation.sign())))
            }
            Clause::Fact { fact, holds } => (fact.name().to_owned(), Value::from(*holds)),
        });
        let kernels: Vec<Value> = self.kernels.iter().map(|kernel| Value::from(kernel.clone())).collect();
        let on = (!kernels.is_empty()).then(|| ("on".to_owned(), Value::Array(kernels)));
        on.into_iter().chain(clauses).collect()
    }

    /// Whether one end fulfils it.
    pub fn holds(&self, end: &impl End) -> bool {
        self.clauses.iter().all(|clause| match clause {
            Clause::Result { thread, end: wanted } => end.result(thread).as_ref() == Some(wanted),
            Clause::Count { thread, event, relation, count } => {
                relation.holds(end.count(thread.as_deref(), *event), *count)
            }
            Clause::Fact { fact, holds } => end.fact(*fact) == *holds,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, clause) in self.clauses.iter().enumerate() {
            let and = if number == 0 { "" } else { " and " };
            write!(f, "{and}{clause}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Result { thread, end } => write!(f, "{thread}.result = {end}"),
            Self::Count { thread, event, relation, count } => {
                let of = thread.as_ref().map_or(String::new(), |thread| format!("{thread}."));
                write!(f, "{of}{} {} {count}", event.name(), relation.sign())
            }
            Self::Fact { fact, holds } => {
                write!(f, "{}{}", if *holds { "" } else { "not " }, fact.name())
            }
        }
    }
}

/// The ends that a pin can come to.
pub(crate) fn ends() -> Vec<&'static str> {
    ["ok", "stuck", "killed"].into_iter().chain(Errno::ALL.map(Errno::name)).collect()
}

/// Reads conditions: keys and values with their places, under `[exists]` or `[forbid]`.
pub(crate) struct Reader<'p> {
    pub threads: Vec<String>,
    pub kernels: Vec<&'static str>,
    pub problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    /// All conditions of a section, `[exists]` or each `[[exists]]`.
    pub fn section(&mut self, document: &mut Document, section: &str) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let keys = document.take_table(section);
        if !keys.is_empty() {
            conditions.push(self.condition(section, keys));
        }
        let near = format!("[{section}]");
        let wrong = |value: &Value| format!("{section}: {value} is not a table of outcomes; nearest: {near}");
        match document.take_items(section) {
            None => {}
            Some(Err((value, place))) => self.problems.push(Problem::new(place, wrong(&value))),
            Some(Ok(items)) => {
                for (value, place) in items {
                    let Value::Table(table) = value else {
                        self.problems.push(Problem::new(place, wrong(&value)));
                        continue;
                    };
                    let mut keys = Vec::new();
                    flatten("", table, &place, &mut keys);
                    conditions.push(self.condition(section, keys));
                }
            }
        }
        conditions
    }

    /// One condition.
    fn condition(&mut self, section: &str, keys: Vec<(String, Value, String)>) -> Condition {
        let mut condition = Condition { kernels: Vec::new(), clauses: Vec::new() };
        for (key, value, place) in keys {
            let read = match key.as_str() {
                "on" => self.kernels(&value).map(|kernels| condition.kernels = kernels),
                _ => self.clause(&key, &value).map(|clause| condition.clauses.push(clause)),
            };
            if let Err(reason) = read {
                self.problems.push(Problem::new(place, format!("{section}.{key}: {reason}")));
            }
        }
        condition
    }

    fn kernels(&self, value: &Value) -> Result<Vec<String>, String> {
        let named = match value {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => {
                names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
            }
            _ => return Err(format!("{value} is not a list of kernels; nearest: [\"linux-7.2.13\"]")),
        };
        match named.iter().find(|name| !self.kernels.contains(&name.as_str())) {
            None => Ok(named),
            Some(wrong) => {
                let near = nearest(wrong, self.kernels.iter().copied()).unwrap_or_default();
                Err(format!("no kernel {wrong:?}; nearest: {near}"))
            }
        }
    }

    fn clause(&self, key: &str, value: &Value) -> Result<Clause, String> {
        if let Some(&(_, fact)) = FACTS.iter().find(|(name, _)| *name == key) {
            let holds =
                value.as_bool().ok_or_else(|| format!("{value} is not true or false; nearest: true"))?;
            return Ok(Clause::Fact { fact, holds });
        }
        let (thread, what) = match key.rsplit_once('.') {
            Some((thread, what)) => (Some(thread.to_owned()), what),
            None => (None, key),
        };
        if let Some(thread) = thread.as_ref().filter(|thread| !self.threads.contains(thread)) {
            let near = nearest(thread, self.threads.iter().map(String::as_str)).unwrap_or_default();
            return Err(format!("no thread {thread:?}; nearest: {near}.{what}"));
        }
        if what == "result" {
            let thread = thread.ok_or_else(|| {
                let first = self.threads.first().map_or("A", String::as_str);
                format!("whose? nearest: {first}.result")
            })?;
            let end = value.as_str().filter(|end| ends().contains(end)).ok_or_else(|| {
                let near = nearest(value.as_str().unwrap_or("ok"), ends()).unwrap_or_default();
                format!("{value} is not ok, stuck or an errno; nearest: {near}")
            })?;
            return Ok(Clause::Result { thread, end: end.to_owned() });
        }
        let Some(&event) = Event::ALL.iter().find(|event| event.name() == what) else {
            let known = Event::ALL.iter().map(|event| event.name());
            let near = nearest(what, known.chain(["result"]).chain(FACTS.map(|(name, _)| name)));
            return Err(format!("no outcome of that name; nearest: {}", near.unwrap_or_default()));
        };
        let (relation, count) = count(value)?;
        Ok(Clause::Count { thread, event, relation, count })
    }
}

/// The keys of a table by path: `A.result = "ok"` is a table within one.
fn flatten(prefix: &str, table: toml::Table, place: &str, into: &mut Vec<(String, Value, String)>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => flatten(&format!("{path}."), inner, place, into),
            value => into.push((path, value, place.to_owned())),
        }
    }
}

/// A count, or one after a relation: `2`, `">= 2"`.
fn count(value: &Value) -> Result<(Relation, u64), String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (relation, rest) = RELATIONS
        .iter()
        .find_map(|&(sign, relation)| Some((relation, text.trim().strip_prefix(sign)?)))
        .unwrap_or((Relation::Is, &text));
    let plain = value.is_integer() || (value.is_str() && rest.len() != text.len());
    rest.trim().parse().ok().filter(|_| plain).map(|count| (relation, count)).ok_or_else(|| {
        let near = number(rest).unwrap_or(0.0) as u64;
        format!("{value} is not a count such as 2 or \">= 2\"; nearest: {near}")
    })
}
