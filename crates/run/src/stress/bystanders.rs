//! Processes beside the one that pins: they have memory and want nothing, until the OOM killer
//! chooses one.

use super::profile::Profile;
use super::shared::Shared;
use crate::config::{Axis, table};
use crate::drive::Driver;
use crate::machine::{
    Kind, Machine, MappingId, OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN, PROGRAM, PageIndex, ProcessId,
};
use crate::ops::{Errno, Task};
use std::ops::RangeInclusive;
use toml::Value;

/// `oom_score_adj`: thousandths of all memory that a process counts as having beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct OomScoreAdj(pub i32);

impl OomScoreAdj {
    const RANGE: RangeInclusive<i32> = OOM_SCORE_ADJ_MIN..=OOM_SCORE_ADJ_MAX;
}

impl Axis for OomScoreAdj {
    fn parse(value: &Value) -> Result<Self, String> {
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        word.parse().ok().filter(|n| Self::RANGE.contains(n)).map(Self).ok_or_else(|| {
            let (low, high) = (f64::from(OOM_SCORE_ADJ_MIN), f64::from(OOM_SCORE_ADJ_MAX));
            let near = crate::config::number(&word).unwrap_or(0.0).clamp(low, high) as i32;
            format!("{value} is not {}; nearest: {near}", Self::expected())
        })
    }
    fn show(&self) -> Value {
        Value::from(i64::from(self.0))
    }
    fn expected() -> String {
        format!("a whole number from {OOM_SCORE_ADJ_MIN} to {OOM_SCORE_ADJ_MAX}")
    }
    fn outside() -> Vec<(Value, String)> {
        let ends = [(OOM_SCORE_ADJ_MIN - 1, OOM_SCORE_ADJ_MIN), (OOM_SCORE_ADJ_MAX + 1, OOM_SCORE_ADJ_MAX)];
        ends.map(|(bad, near)| (i64::from(bad).into(), near.to_string())).into()
    }
}

table! {
    /// Processes that have memory and want nothing.
    pub struct BystanderCfg {
        /// How many.
        key count: u32 = 0..=MOST,
        /// Pages that each has.
        key pages: u32 = 1..=u32::MAX,
        /// How many of them lie outside Movable and CMA.
        key outside: u32,
        /// How much sooner than others the OOM killer chooses one.
        key oom_score_adj: OomScoreAdj,
    }
}

/// Most bystanders.
const MOST: u32 = 1000;

impl BystanderCfg {
    /// Pages of all of them.
    pub(super) fn mapped(&self) -> u64 {
        u64::from(self.count) * u64::from(self.pages)
    }
}

impl Profile {
    /// Whether bystanders have anything to be there for, and room.
    pub(super) fn check_bystanders(&self) -> Result<(), String> {
        let BystanderCfg { count, pages, outside, .. } = self.bystanders;
        if count == 0 {
            return Ok(());
        }
        if !self.hog && self.memory.normal == 0 {
            return Err(format!(
                "bystanders.count: {count} of them could do nothing: memory outside Movable does not run \
                 out; nearest: hog = true"
            ));
        }
        if outside > pages {
            return Err(format!(
                "bystanders.outside: {outside} is more than bystanders.pages; nearest: {pages}"
            ));
        }
        let [normal, all] = [self.layout().normal, count.saturating_mul(outside)];
        if all > normal {
            let near = normal / count;
            return Err(format!(
                "bystanders.outside: {count} times {outside} pages are more than the {normal} frames \
                 outside Movable; nearest: {near}"
            ));
        }
        let inside = u64::from(count) * u64::from(pages - outside);
        let ranges = u64::from(self.mappings()) * u64::from(self.ranges.pages);
        if inside + ranges > u64::from(self.memory.movable) {
            let near = inside + ranges;
            return Err(format!(
                "memory.movable: {} frames have no room for the pages of bystanders and ranges; \
                 nearest: {near}",
                self.memory.movable
            ));
        }
        Ok(())
    }
}

/// Makes the processes of a run, whose mappings have nothing in them yet: bystanders by number,
/// and the kernel, which has whatever else lies outside Movable and is never chosen.
pub(super) fn make(m: &Machine, profile: &Profile) -> (Vec<MappingId>, Option<MappingId>) {
    m.processes.set_oom_score_adj(profile.pinner.oom_score_adj.0);
    let BystanderCfg { count, pages, oom_score_adj, .. } = profile.bystanders;
    let process = |pages, oom_score_adj| {
        let mapping = m.map(Kind::Anon, pages).id;
        m.processes.add(oom_score_adj, vec![mapping]);
        mapping
    };
    let bystanders = (0..count).map(|_| process(pages, oom_score_adj.0)).collect();
    (bystanders, profile.hog.then(|| process(profile.layout().normal, OOM_SCORE_ADJ_MIN)))
}

/// Brings in what bystanders have, and then what the kernel has.
pub(super) fn populate<D: Driver>(sh: &Shared, task: &Task<'_, D>) -> Result<(), Errno> {
    let BystanderCfg { pages, outside, .. } = sh.profile.bystanders;
    for &mapping in &sh.bystanders {
        let mapping = sh.m.mapping(mapping);
        let (outside, inside) = (PageIndex(0).run(outside), PageIndex(outside).run(pages - outside));
        task.touch_pinnable(mapping, outside)?;
        task.touch(mapping, inside)?;
    }
    if let Some(hog) = sh.hog {
        let mapping = sh.m.mapping(hog);
        // Ends with the memory.
        let _ = task.touch_pinnable(mapping, mapping.vma.pages());
    }
    Ok(())
}

/// The process of a bystander.
fn bystander(number: usize) -> ProcessId {
    ProcessId::nth(PROGRAM.at() + 1 + number)
}

/// The life of a bystander: it waits for its end, and gives back what it has.
pub(super) fn live<D: Driver>(sh: &Shared, task: &Task<'_, D>, number: usize) {
    let process = bystander(number);
    if task.await_signal(process) {
        task.unmap(sh.m.mapping(sh.bystanders[number]));
        task.exited(process);
    }
}

impl Shared {
    /// The thread of a process that has only one.
    pub(super) fn thread_of(&self, process: ProcessId) -> Option<usize> {
        let number = (0..self.bystanders.len()).find(|&number| bystander(number) == process)?;
        let first = self.slots.len() - self.m.cpus.len() - self.bystanders.len();
        Some(first + number)
    }

    /// What a process is called.
    pub(super) fn process_name(&self, process: ProcessId) -> String {
        let nobodys = || if process == PROGRAM { "pinners" } else { "forked child" }.to_owned();
        self.thread_of(process).map_or_else(nobodys, |thread| self.name(thread))
    }
}
