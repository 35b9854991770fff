//! How the machine's own settings are read and shown.

use super::{Axis, Count, Key, Ns, SetError, Share, Table};
use super::{impl_table, impl_words};
use crate::drive::{CostSet, Costs, Step};
use crate::machine::Layout;
use crate::policy::{
    Cold, Defect, DrainAfterMigrate, DrainRule, DrainWhen, Empty, Entry, FailedErrno, IsolationFailure, Look,
    MigrateStyle, MigrationFailure, OtherPinner, Permanent, Policy, Rules, Scope, SweepOrder, Unshare,
    Waiters, ZeroPage,
};

impl_words!(Cold CostSet Defect DrainAfterMigrate DrainRule DrainWhen Empty Entry FailedErrno IsolationFailure Look MigrateStyle
    MigrationFailure OtherPinner Permanent Scope SweepOrder Unshare Waiters ZeroPage);

gupstress_machine::layout_keys!();
gupstress_machine::policy_keys!();
gupstress_machine::rules_keys!();

/// A step's key.
fn step_key(step: Step) -> String {
    step.name().replace([':', '-'], "_")
}

impl Table for Costs {
    fn keys(prefix: &str, into: &mut Vec<Key>) {
        let mut key = |name: &str, doc, expected| {
            into.push(Key { path: format!("{prefix}{name}"), doc, expected });
        };
        key(
            "base",
            "Costs that were found together: all of them, where a key says nothing else.",
            CostSet::expected(),
        );
        key("wakeup", "From a wake-up until the woken task can run on an idle CPU.", u32::expected());
        key("switch", "What a CPU loses where it goes on with another task.", u32::expected());
        Step::ALL.iter().for_each(|&step| key(&step_key(step), "", u32::expected()));
    }

    fn set(&mut self, path: &str, value: &toml::Value) -> Result<(), SetError> {
        if path == "base" {
            // Before every other key: a document's keys come in the order of the alphabet, and no step is before it.
            *self = Self::named(Axis::parse(value).map_err(SetError::Value)?);
            return Ok(());
        }
        let step = Step::ALL.iter().copied().find(|&step| step_key(step) == path);
        if step.is_none() && !matches!(path, "wakeup" | "switch") {
            return Err(SetError::Unknown);
        }
        let ns = u64::from(u32::parse(value).map_err(SetError::Value)?);
        match step {
            Some(step) => Self::set(self, step, ns),
            None if path == "wakeup" => self.wakeup = ns,
            None => self.switch = ns,
        }
        Ok(())
    }

    fn to_table(&self) -> toml::Table {
        let ns = |ns: u64| toml::Value::from(ns as i64);
        let mut table = toml::Table::new();
        table.insert("base".into(), self.set_name().show());
        table.insert("wakeup".into(), ns(self.wakeup));
        table.insert("switch".into(), ns(self.switch));
        table.extend(Step::ALL.iter().map(|&step| (step_key(step), ns(self.of(step)))));
        table
    }
}
