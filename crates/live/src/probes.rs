//! Hits of kernel functions, counted by kprobe events of tracefs.
//!
//! Each probe is an event of its own, named after this process, and is taken away at the end.
//! A function that this kernel does not have under any of its names, or calls inlined where
//! it surely runs, has no probe: its counter is missing.

use crate::texts::{Hits, kprobe_profile};
use gupstress_run::observe::Event;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where something can be seen to happen.
#[derive(Debug, Clone, Copy)]
pub enum Site {
    /// On entry of a function of this name.
    Function(&'static str),
    /// At a tracepoint that is no event of tracefs.
    Tracepoint(&'static str),
}

use Site::{Function, Tracepoint};

/// Whose hits a counter is, in one kernel or another; the first that is hit where it must be.
pub const SITES: &[(Event, &[Site])] = &[
    (Event::DrainAll, &[Function("lru_add_drain_all"), Tracepoint("mm_lru_add_drain_all_tp")]),
    (Event::DrainLocal, &[Function("lru_add_drain")]),
    (Event::DrainWork, &[Function("lru_add_drain_per_cpu")]),
    (Event::MlockDrain, &[Function("mlock_drain_local"), Function("mlock_page_drain_local")]),
    (Event::MigrateCalls, &[Function("migrate_pages")]),
    (Event::IsolateCalls, &[Function("folio_isolate_lru"), Function("isolate_lru_page")]),
    (Event::TargetAllocs, &[Function("alloc_migration_target")]),
    (Event::SlowEntries, &[Function("__gup_longterm_locked")]),
    (Event::Faults, &[Function("handle_mm_fault")]),
];

/// Where tracefs may be mounted.
pub const TRACEFS: &[&str] = &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Probes that are set: of each counter those that it may be, the one that it is first.
#[derive(Debug, Default)]
pub struct Probes {
    tracefs: PathBuf,
    set: Vec<(Event, Vec<Probe>)>,
}

/// A kprobe event, and the event that calls a tracepoint's stub for it to hit.
#[derive(Debug)]
struct Probe {
    name: String,
    on_tracepoint: bool,
}

/// The mounted tracefs that has kprobe events, if there is one.
pub fn tracefs() -> Option<PathBuf> {
    TRACEFS.iter().map(PathBuf::from).find(|path| path.join("kprobe_events").exists())
}

impl Probes {
    /// Sets every probe that this kernel takes.
    pub fn set(tracefs: &Path) -> Self {
        let mut probes = Self { tracefs: tracefs.to_owned(), set: Vec::new() };
        for (event, sites) in SITES {
            let set: Vec<Probe> =
                (0..).zip(*sites).filter_map(|(number, site)| probes.put(*event, number, *site)).collect();
            if !set.is_empty() {
                probes.set.push((*event, set));
            }
        }
        probes
    }

    fn put(&self, event: Event, number: usize, site: Site) -> Option<Probe> {
        let name = format!("gupstress_{}_{}_{number}", std::process::id(), event.name());
        let (function, on_tracepoint) = match site {
            Function(function) => (function.to_owned(), false),
            Tracepoint(tracepoint) => (format!("__probestub_{tracepoint}"), true),
        };
        let probe = Probe { name, on_tracepoint };
        let name = &probe.name;
        let set = || -> io::Result<()> {
            if let Tracepoint(tracepoint) = site {
                // A tracepoint calls its stub only while something listens to it.
                self.write("dynamic_events", &format!("t:tracepoints/{name} {tracepoint}"))?;
                self.write(&format!("events/tracepoints/{name}/enable"), "1")?;
            }
            self.write("kprobe_events", &format!("p:kprobes/{name} {function}"))?;
            self.write(&format!("events/kprobes/{name}/enable"), "1")
        };
        let is_set = set().is_ok();
        // One that was set in part counts nothing.
        if !is_set {
            self.take_away(&probe);
        }
        is_set.then_some(probe)
    }

    /// The file that has the hits.
    pub fn profile(&self) -> PathBuf {
        self.tracefs.join("kprobe_profile")
    }

    /// The hits in a text of that file; a counter with missed hits is not among them.
    pub fn hits<'p>(&'p self, text: &str) -> impl Iterator<Item = (Event, u64)> + use<'p> {
        let profile: Vec<(String, Hits)> =
            kprobe_profile(text).into_iter().map(|(event, hits)| (event.to_owned(), hits)).collect();
        self.set.iter().filter_map(move |(event, probes)| {
            let name = &probes.first()?.name;
            let (_, hits) = profile.iter().find(|(known, _)| known == name)?;
            (hits.missed == 0).then_some((*event, hits.hit))
        })
    }

    /// Keeps of each counter the first probe that was hit while everything that is counted
    /// happened. One that was not is of a function that is inlined there: not the counter.
    pub fn keep_hit(&mut self, before: &str, after: &str) {
        let [before, after] = [before, after].map(kprobe_profile);
        let hit = |probe: &Probe| {
            let hits = |profile: &BTreeMap<&str, Hits>| profile.get(probe.name.as_str()).map(|hits| hits.hit);
            hits(&after) > hits(&before)
        };
        for (event, probes) in std::mem::take(&mut self.set) {
            let (mut kept, mut gone): (Vec<Probe>, Vec<Probe>) = probes.into_iter().partition(&hit);
            gone.extend(kept.drain(1.min(kept.len())..));
            gone.iter().for_each(|probe| self.take_away(probe));
            if !kept.is_empty() {
                self.set.push((event, kept));
            }
        }
    }

    /// Does without a counter.
    pub fn leave(&mut self, event: Event) {
        if let Some(at) = self.set.iter().position(|(known, _)| *known == event) {
            let (_, probes) = self.set.remove(at);
            probes.iter().for_each(|probe| self.take_away(probe));
        }
    }

    fn take_away(&self, probe: &Probe) {
        // What is not there, or has gone by itself, need not be taken away.
        let name = &probe.name;
        drop(self.write(&format!("events/kprobes/{name}/enable"), "0"));
        drop(self.write("kprobe_events", &format!("-:kprobes/{name}")));
        if probe.on_tracepoint {
            drop(self.write(&format!("events/tracepoints/{name}/enable"), "0"));
            drop(self.write("dynamic_events", &format!("-:tracepoints/{name}")));
        }
    }

    /// Appends: what is written to `kprobe_events` from its start takes all others away.
    fn write(&self, file: &str, line: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.tracefs.join(file))?;
        // In one write: a line is what one write has.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// Takes away the probes of a process that was killed before it could do so itself.
pub fn clear(process: u32) {
    let Some(tracefs) = tracefs() else { return };
    let mine = format!("/gupstress_{process}_");
    let probes = Probes { tracefs, set: Vec::new() };
    for (file, on_tracepoint) in [("dynamic_events", true), ("kprobe_events", false)] {
        let text = std::fs::read_to_string(probes.tracefs.join(file)).unwrap_or_default();
        for event in text.lines().filter_map(|line| line.split_whitespace().next()) {
            if let Some((_, number)) = event.split_once(&mine) {
                let name = format!("gupstress_{process}_{number}");
                probes.take_away(&Probe { name, on_tracepoint });
            }
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.set.iter().flat_map(|(_, probes)| probes).for_each(|probe| self.take_away(probe));
    }
}
