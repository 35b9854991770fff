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
