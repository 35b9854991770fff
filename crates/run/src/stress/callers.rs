//! Who the pinning threads are.

use crate::config::{Key, SetError, Table, whole};
use crate::policy::Caller;
use std::collections::BTreeMap;

/// Who the pinning threads are: a share for each kind of caller, and for those of it that only
/// read. A thread has its kind by its number; where no share is given all are `io_uring`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Callers(BTreeMap<String, u32>);

/// What a kind of caller that only reads is called.
const READS: &str = "-ro";
/// Most threads of a kind, of all that a turn of kinds has.
const MOST_SHARE: u32 = 1000;

/// Kinds of callers by name: who, and whether it writes.
fn caller_kinds() -> impl Iterator<Item = (String, Caller, bool)> {
    Caller::WORDS.iter().flat_map(|&(name, caller)| {
        let reads = (caller != Caller::Udmabuf).then(|| (format!("{name}{READS}"), caller, false));
        [Some((name.to_owned(), caller, true)), reads].into_iter().flatten()
    })
}

impl Callers {
    /// Who thread `number` is, and whether it writes; `writes`: if nobody says.
    pub fn of(&self, number: usize, writes: bool) -> (Caller, bool) {
        let all: u32 = self.0.values().sum();
        if all == 0 {
            return (Caller::IoUring, writes);
        }
        let mut place = (number as u32) % all;
        for (name, caller, write) in caller_kinds() {
            let share = self.0.get(&name).copied().unwrap_or(0);
            if place < share {
                return (caller, write);
            }
            place -= share;
        }
        (Caller::IoUring, writes)
    }

    /// What thread `number` is called, by what its kind is; none: all are of one kind.
    pub fn name(&self, number: usize) -> Option<String> {
        if self.0.values().filter(|&&share| share != 0).count() < 2 {
            return None;
        }
        let (caller, write) = self.of(number, true);
        let kind = caller_kinds().find(|&(_, known, writes)| (known, writes) == (caller, write));
        kind.map(|(name, ..)| name)
    }

    pub(super) fn has(&self, caller: Caller) -> bool {
        caller_kinds().any(|(name, kind, _)| kind == caller && self.0.get(&name).is_some_and(|&n| n != 0))
    }
}

impl Table for Callers {
    fn keys(prefix: &str, into: &mut Vec<Key>) {
        into.extend(caller_kinds().map(|(name, ..)| Key {
            path: format!("{prefix}{name}"),
            doc: "",
            expected: whole::expected(&(0..=MOST_SHARE)),
            outside: whole::outside(&(0..=MOST_SHARE)),
        }));
    }

    fn set(&mut self, path: &str, value: &toml::Value) -> std::result::Result<(), SetError> {
        if !caller_kinds().any(|(name, ..)| name == path) {
            return Err(SetError::Unknown);
        }
        let share = whole::parse(value, &(0..=MOST_SHARE)).map_err(SetError::Value)?;
        self.0.insert(path.to_owned(), share);
        Ok(())
    }

    fn to_table(&self) -> toml::Table {
        self.0.iter().map(|(name, &share)| (name.clone(), i64::from(share).into())).collect()
    }
}
