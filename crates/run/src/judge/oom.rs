//! What was killed for want of memory, and whether that could help.

use super::findings::MAX_FINDINGS;
use crate::machine::{Kill, Machine, ProcessId};
use serde::Serialize;

/// A process that the OOM killer chose.
#[derive(Debug, Clone, Serialize)]
pub struct OomVictim {
    /// Which one: `pinners`, a bystander by number, or a `forked child`.
    pub process: String,
    /// Its badness (`oom_badness`), in pages.
    pub points: i64,
    /// Pages that it had.
    pub pages: u64,
    /// Those of them that the allocation could have used.
    pub useful: u64,
    /// Free frames of Movable at that moment.
    pub free_movable: u64,
}

/// All that the OOM killer did in a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Oom {
    /// Processes killed.
    pub kills: u64,
    /// Those whose death could not help: nothing of what they had could the allocation use.
    pub needless: u64,
    /// Whether there was nobody left to kill in the end.
    pub panicked: bool,
    /// Those killed, the first hundred.
    pub findings: Vec<OomVictim>,
}

impl Oom {
    /// What it did to the processes of a machine; none: nothing.
    pub fn of(m: &Machine, name: impl Fn(ProcessId) -> String) -> Option<Self> {
        let (kills, panicked) = (m.processes.kills(), m.processes.has_panicked());
        let victim = |kill: &Kill| {
            let Kill { process, points, pages, useful, free_movable } = *kill;
            OomVictim { process: name(process), points, pages, useful, free_movable }
        };
        (panicked || !kills.is_empty()).then(|| Self {
            kills: kills.len() as u64,
            needless: kills.iter().filter(|kill| kill.is_needless()).count() as u64,
            panicked,
            findings: kills.iter().take(MAX_FINDINGS).map(victim).collect(),
        })
    }
}
