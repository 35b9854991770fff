//! What could explain counts: a rule set and a policy, named ones or changed.

use crate::config::{Key, Table, set_key};
use crate::policy::{Policy, Rules, Source, kernel_names, load_kernel, load_policy, policy_names};
use std::collections::BTreeMap;
use toml::Value;

/// One key set to another value.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Change {
    /// `kernel` or `policy`.
    pub table: &'static str,
    /// The key.
    pub axis: String,
    /// What it is set to.
    pub value: Value,
}

/// A rule set and a policy.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The rules.
    pub rules: Rules,
    /// The policy.
    pub policy: Policy,
    /// What was changed of the named ones.
    pub changes: Vec<Change>,
}

/// Keys that say nothing about what is counted on an idle machine, or are no axes.
const FIXED: &[&str] = &[
    "name",
    "summary",
    "source",
    "policy",
    "defect",
    "deadline",
    "backoff_min",
    "backoff_max",
    "backoff_jitter",
    "pin_bias",
];

fn axes<T: Table>() -> Vec<Key> {
    let mut keys = Vec::new();
    T::keys("", &mut keys);
    keys.retain(|key| !FIXED.contains(&key.path.as_str()));
    keys
}

/// What two tables must have in common to count the same.
fn essence(table: &impl Table) -> String {
    let mut table = table.to_table();
    FIXED
        .iter()
        .filter(|key| !matches!(**key, "deadline" | "pin_bias"))
        .for_each(|key| drop(table.remove(*key)));
    table.to_string()
}

impl Candidate {
    /// Every named rule set under every named policy that is not broken on purpose; rule sets
    /// that differ in name alone once, under the first one's.
    pub fn named() -> Vec<Self> {
        let policies: Vec<Policy> = policy_names()
            .into_iter()
            .filter(|name| !name.starts_with("busted-"))
            .filter_map(|name| load_policy(Source::Preset(name), &[]).ok())
            .collect();
        let mut rules: Vec<Rules> = Vec::new();
        for set in named_rules() {
            if rules.iter().all(|known| essence(known) != essence(&set)) {
                rules.push(set);
            }
        }
        let pairs = rules.iter().flat_map(|rules| policies.iter().map(move |policy| (rules, policy)));
        pairs
            .map(|(rules, policy)| Self { rules: rules.clone(), policy: policy.clone(), changes: Vec::new() })
            .collect()
    }

    /// The names of all rule sets that are these in all but name.
    pub fn same_rules(&self) -> Vec<String> {
        let same = named_rules().into_iter().filter(|known| essence(known) == essence(&self.rules));
        same.map(|rules| rules.name).collect()
    }

    /// Whether a named rule set with these rules has this policy itself.
    pub fn is_own_policy(&self) -> bool {
        let same = self.same_rules();
        named_rules().iter().any(|known| same.contains(&known.name) && known.policy == self.policy.name)
    }

    /// Every key that cells may decide, each with the table that it is of.
    pub fn keys() -> impl Iterator<Item = (&'static str, String)> {
        let rules = axes::<Rules>().into_iter().map(|key| ("kernel", key.path));
        rules.chain(axes::<Policy>().into_iter().map(|key| ("policy", key.path)))
    }

    /// Every way to set one key to another value.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let seen = values_in_use();
        add("kernel", &axes::<Rules>(), &self.rules.to_table(), &seen, &mut changes);
        add("policy", &axes::<Policy>(), &self.policy.to_table(), &seen, &mut changes);
        changes
    }

    /// The same with one key changed.
    pub fn with(&self, change: &Change) -> Option<Self> {
        let mut changed = self.clone();
        let set = match change.table {
            "kernel" => set_key(&mut changed.rules, &change.axis, &change.value, ""),
            _ => set_key(&mut changed.policy, &change.axis, &change.value, ""),
        };
        set.ok()?;
        changed.changes.push(change.clone());
        Some(changed)
    }

    /// The value of a key.
    pub fn value(&self, table: &str, axis: &str) -> Option<Value> {
        if table == "kernel" { self.rules.to_table() } else { self.policy.to_table() }.remove(axis)
    }
}

fn named_rules() -> Vec<Rules> {
    kernel_names().into_iter().filter_map(|name| load_kernel(Source::Preset(name), &[]).ok()).collect()
}

/// The values that any named rule set or policy has, by key.
fn values_in_use() -> BTreeMap<String, Vec<Value>> {
    let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let policies = policy_names().into_iter().filter_map(|name| load_policy(Source::Preset(name), &[]).ok());
    let tables = named_rules().into_iter().map(|rules| rules.to_table());
    for (key, value) in tables.chain(policies.map(|policy| policy.to_table())).flatten() {
        let values = seen.entry(key).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    seen
}

/// Words: every one of them; numbers: those in use and the neighbours.
fn add(
    table: &'static str,
    keys: &[Key],
    now: &toml::Table,
    seen: &BTreeMap<String, Vec<Value>>,
    changes: &mut Vec<Change>,
) {
    for key in keys {
        let Some(current) = now.get(&key.path) else { continue };
        let words: Vec<Value> = match current {
            Value::Boolean(flag) => vec![Value::Boolean(!flag)],
            Value::String(_) if key.expected.contains(" | ") => {
                key.expected.split(" | ").map(Value::from).collect()
            }
            _ => Vec::new(),
        };
        let near = current.as_integer().into_iter().flat_map(|n| [n - 1, n + 1]).filter(|n| *n > 0);
        let mut values: Vec<Value> = words;
        values.extend(seen.get(&key.path).into_iter().flatten().cloned());
        values.extend(near.map(Value::from));
        for (at, value) in values.iter().enumerate() {
            if value != current && !values[..at].contains(value) {
                changes.push(Change { table, axis: key.path.clone(), value: value.clone() });
            }
        }
    }
}
