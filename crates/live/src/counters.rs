//! What the kernel counted between two moments: `/proc/vmstat` and hits of probes.
//!
//! Taking a moment must not change what is measured: a page fault of this process would put a
//! page into a batch. So the files are open and the buffers written before anything counts.

use crate::probes::Probes;
use crate::texts::vmstat;
use gupstress_run::observe::Event;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Counts by name; what is not there could not be counted.
pub type Counted = BTreeMap<String, u64>;

/// Counters of `/proc/vmstat`, under the names that results give them.
const VMSTAT: &[(&str, &str)] = &[
    ("acquired", "nr_foll_pin_acquired"),
    ("released", "nr_foll_pin_released"),
    ("migrated", "pgmigrate_success"),
    ("migrate_failed", "pgmigrate_fail"),
    ("thp_migration_success", "thp_migration_success"),
    ("thp_migration_fail", "thp_migration_fail"),
    ("thp_migration_split", "thp_migration_split"),
    ("thp_split_page", "thp_split_page"),
];

/// Those that CPUs keep to themselves until they are told to hand them in.
const GATHERED: [&str; 2] = ["acquired", "released"];

/// Every counter that some kernel has.
pub fn all() -> impl Iterator<Item = &'static str> {
    let probed = crate::probes::SITES.iter().map(|(event, _)| event.name());
    VMSTAT.iter().map(|(name, _)| *name).chain(probed)
}

/// Reads the counters.
#[derive(Debug)]
pub struct Counters {
    vmstat: File,
    profile: Option<File>,
    /// Has every CPU hand its counts in.
    refresh: Option<File>,
    probes: Probes,
    moments: RefCell<[Moment; 2]>,
}

/// The files' texts at one moment.
#[derive(Debug)]
struct Moment {
    vmstat: Text,
    hits: Text,
}

#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    length: usize,
}

/// More than the files have.
const ROOM: usize = 64 << 10;

impl Text {
    fn new() -> Self {
        // Not zeroed by mapping fresh pages: each is written, so none is faulted in later.
        Self { bytes: vec![0x20; ROOM], length: 0 }
    }

    fn fill(&mut self, file: &File) -> io::Result<()> {
        self.length = 0;
        loop {
            match file.read_at(&mut self.bytes[self.length..], self.length as u64)? {
                0 => return Ok(()),
                more => self.length += more,
            }
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl Moment {
    /// Room for a moment, to be taken later.
    fn room() -> Self {
        Self { vmstat: Text::new(), hits: Text::new() }
    }
}

impl Counters {
    /// Opens what there is.
    ///
    /// # Errors
    /// There is no `/proc/vmstat`.
    pub fn open(probes: Probes) -> io::Result<Self> {
        Ok(Self {
            vmstat: File::open("/proc/vmstat")?,
            profile: File::open(probes.profile()).ok(),
            refresh: File::open("/proc/sys/vm/stat_refresh").ok(),
            probes,
            moments: RefCell::new([Moment::room(), Moment::room()]),
        })
    }

    /// Has every CPU hand in what it counted.
    fn gather(&self) -> bool {
        // Reading it does the work; what it then says does not matter.
        self.refresh.as_ref().is_some_and(|refresh| refresh.read_at(&mut [0; 8], 0).is_ok())
    }

    /// Takes a moment before something.
    fn before(&self, moment: &mut Moment) -> io::Result<()> {
        self.gather();
        moment.vmstat.fill(&self.vmstat)?;
        self.profile.as_ref().map_or(Ok(()), |profile| moment.hits.fill(profile))
    }

    /// Takes a moment after it; probes first, as gathering has work done.
    fn after(&self, moment: &mut Moment) -> io::Result<()> {
        if let Some(profile) = &self.profile {
            moment.hits.fill(profile)?;
        }
        self.gather();
        moment.vmstat.fill(&self.vmstat)
    }

    /// What was counted between two moments.
    fn between(&self, before: &Moment, after: &Moment) -> Counted {
        let gathered = self.refresh.is_some();
        let [old, new] = [before, after].map(|moment| vmstat(moment.vmstat.text()));
        let counts = VMSTAT.iter().filter(|(name, _)| gathered || !GATHERED.contains(name));
        let counts = counts
            .filter_map(|(name, key)| Some(((*name).to_owned(), new.get(key)?.wrapping_sub(*old.get(key)?))));
        let old: BTreeMap<&str, u64> =
            self.probes.hits(before.hits.text()).map(|(event, hits)| (event.name(), hits)).collect();
        let hits = self
            .probes
            .hits(after.hits.text())
            .filter_map(|(event, hits)| Some((event.name().to_owned(), hits - old.get(event.name())?)));
        counts.chain(hits).collect()
    }

    /// Counts while something is done.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn during<R>(&self, deed: impl FnOnce() -> R) -> io::Result<(R, Counted)> {
        let mut moments = self.moments.borrow_mut();
        let [before, after] = &mut *moments;
        self.before(before)?;
        let done = deed();
        self.after(after)?;
        Ok((done, self.between(before, after)))
    }

    /// Does what has every counter count, and keeps the probes that were hit meanwhile.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn calibrate(&mut self, everything: impl FnOnce()) -> io::Result<()> {
        self.during(everything)?;
        let [before, after] = self.moments.get_mut();
        self.probes.keep_hit(before.hits.text(), after.hits.text());
        Ok(())
    }

    /// Takes the probe of a counter away that does not count all there is to count.
    pub fn distrust(&mut self, event: Event) {
        self.probes.leave(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_source_is_missing_and_never_0() {
        let counters = Counters::open(Probes::default()).unwrap();
        let ((), counted) = counters.during(|| ()).unwrap();
        assert!(counted.contains_key("migrated"), "{counted:?}");
        let probed = crate::probes::SITES.iter().map(|(event, _)| event.name());
        assert!(probed.clone().count() > 0 && probed.clone().all(|name| !counted.contains_key(name)));
    }
}
