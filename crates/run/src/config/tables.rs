//! How the machine's own settings are read and shown.

use super::{Axis, Count, Key, Ns, SetError, Share, Table};
use super::{impl_table, impl_words};
use crate::drive::{Costs, Step};
use crate::machine::Layout;
use crate::policy::{
    Cold, Defect, DrainAfterMigrate, DrainRule, DrainWhen, Empty, Entry, FailedErrno, IsolationFailure, Look,
    MigrateStyle, MigrationFailure, OtherPinner, Permanent, Policy, Rules, Scope, SweepOrder, Unshare,
    Waiters, ZeroPage,
};

impl_words!(Cold Defect DrainAfterMigrate DrainRule DrainWhen Empty Entry FailedErrno IsolationFailure Look MigrateStyle
    MigrationFailure OtherPinner Permanent Scope SweepOrder Unshare Waiters ZeroPage);

gupstress_machine::layout_keys!();
gupstress_machine::policy_keys!();
gupstress_machine::rules_keys!();

impl Table for Costs {
    fn keys(prefix: &str, into: &mut Vec<Key>) {
        into.extend(Step::ALL.iter().map(|step| Key {
            path: format!("{prefix}{}", step.name().replace([':', '-'], "_")),
            doc: "",
            expected: <u32 as Axis>::expected(),
            outside: <u32 as Axis>::outside(),
        }));
    }

    fn set(&mut self, path: &str, value: &toml::Value) -> Result<(), SetError> {
        let step = Step::ALL
            .iter()
            .find(|step| step.name().replace([':', '-'], "_") == path)
            .ok_or(SetError::Unknown)?;
        let ns: u32 = Axis::parse(value).map_err(SetError::Value)?;
        Self::set(self, *step, u64::from(ns));
        Ok(())
    }

    fn to_table(&self) -> toml::Table {
        let entries = Step::ALL.iter();
        entries
            .map(|&step| (step.name().replace([':', '-'], "_"), toml::Value::from(self.of(step) as i64)))
            .collect()
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
