//! How the machine's own settings are read and shown.

use super::{Axis, Count, Key, Ns, SetError, Share, Table};
use super::{impl_table, impl_words};
use crate::machine::Layout;
use gupstress_machine::drive::{CostSet, Costs, Step};
use gupstress_machine::policy::{
    Coalesce, Cold, Defect, DrainAfterMigrate, DrainRule, DrainWhen, Empty, Entry, FailedErrno,
    IsolationFailure, Look, MigrateStyle, MigrationFailure, MlockLarge, MprotectWritable, OtherPinner,
    Permanent, Policy, Rules, Scope, SweepOrder, Unshare, Waiters, ZeroPage,
};

impl_words!(Coalesce Cold CostSet Defect DrainAfterMigrate DrainRule DrainWhen Empty Entry FailedErrno IsolationFailure Look MigrateStyle MlockLarge MprotectWritable
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
        let mut key = |name: &str, doc, expected, outside| {
            into.push(Key { path: format!("{prefix}{name}"), doc, expected, outside });
        };
        key(
            "base",
            "Costs that were found together: all of them, where a key says nothing else.",
            CostSet::expected(),
            CostSet::outside(),
        );
        let mut ns = |name: &str, doc| key(name, doc, u32::expected(), u32::outside());
        ns("wakeup", "From a wake-up until the woken task can run on an idle CPU.");
        ns("switch", "What a CPU loses where it goes on with another task.");
        Step::ALL.iter().for_each(|&step| ns(&step_key(step), ""));
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::set_key;
    use crate::policy::Source;
    use crate::stress::{Profile, load_profile};

    /// Every key of a table, each held against what it says that it accepts.
    fn refuses_just_outside<T: Table + Clone>(kind: &str, table: &T) {
        let mut keys = Vec::new();
        T::keys("", &mut keys);
        assert!(keys.len() > 10, "{kind}");
        for Key { path, expected, outside, .. } in keys {
            assert!(!expected.is_empty() && !outside.is_empty(), "{kind}.{path} has no stated range");
            for (bad, near) in outside {
                let set = |value: &toml::Value| set_key(&mut table.clone(), &path, value, "");
                let refusal = set(&bad).expect_err(&format!("{kind}.{path} takes {bad}")).to_string();
                assert!(refusal.contains(&path) && refusal.contains(&bad.to_string()), "{refusal}");
                assert!(refusal.contains(&expected.replace(" | ", ", ")), "{refusal}");
                assert!(refusal.ends_with(&format!("; nearest: {near}")), "{near}? {refusal}");
                set(&near.clone().into()).unwrap_or_else(|said| panic!("{kind}.{path} = {near}: {said}"));
            }
        }
    }

    #[test]
    fn each_key_says_what_it_accepts_and_refuses_what_is_just_outside() {
        refuses_just_outside("policy", &Policy::blank());
        refuses_just_outside("kernel", &Rules::blank());
        refuses_just_outside::<Profile>("profile", &load_profile(Source::Preset("steady"), &[]).unwrap());
    }
}
