//! What this kernel offers to measure with, and what to do about what it does not.

use crate::calls::settle;
use crate::pins::Ring;
use crate::places::{cma_pages, movable_frames};
use crate::probes::TRACEFS;
use crate::texts::{vmstat, zoneinfo};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is.
    There,
    /// It is not.
    Missing,
    /// It is said for who reads the results.
    Known,
}

/// One line of `live check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What is looked for.
    pub fact: &'static str,
    /// What was found.
    pub found: String,
    /// Whether that is enough.
    pub status: Status,
    /// Whether nothing can be measured without it.
    pub needed: bool,
    /// What to do about it; empty where nothing need be done.
    pub advice: &'static str,
}

/// Where facts are read: files under a folder, so that those of another host can be.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    /// What only this very host can be asked for, by trying.
    ring: std::result::Result<(), String>,
    settles: bool,
    memlock: Option<u64>,
}

impl Host {
    /// This one.
    pub fn this() -> Self {
        Self {
            root: PathBuf::from("/"),
            ring: Ring::new().map(drop).map_err(|error| error.to_string()),
            settles: settle().is_ok(),
            memlock: getrlimit(Resource::Memlock).current,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn word(&self, path: &str) -> String {
        self.text(path).map_or_else(|| "not there".to_owned(), |text| text.trim().to_owned())
    }
}

const SYS_ADMIN: u32 = 21;
const IPC_LOCK: u32 = 14;

/// Everything, in the order in which it is shown.
pub fn facts(host: &Host) -> Vec<Fact> {
    let rights = capabilities(host);
    vec![
        admin(rights),
        ring(host),
        movable(host),
        counts(host),
        probes(host),
        settling(host),
        memlock(host, rights),
        known("CPUs", &[("online", "/sys/devices/system/cpu/online")], host),
        known("NUMA nodes", &[("online", "/sys/devices/system/node/online")], host),
        known("THP", &[("enabled", "/sys/kernel/mm/transparent_hugepage/enabled")], host),
        known("MGLRU", &[("enabled", "/sys/kernel/mm/lru_gen/enabled")], host),
    ]
}

/// One line about everything that is needed and missing; none if nothing is.
pub fn missing(facts: &[Fact]) -> Option<String> {
    let lacks: Vec<String> = facts
        .iter()
        .filter(|fact| fact.needed && fact.status == Status::Missing)
        .map(|fact| format!("{}: {}; nearest: {}", fact.fact, fact.found, fact.advice))
        .collect();
    (!lacks.is_empty()).then(|| lacks.join("; "))
}

/// What results say of the host.
pub fn host() -> Value {
    let names = rustix::system::uname();
    let zones = zoneinfo(&fs::read_to_string("/proc/zoneinfo").unwrap_or_default());
    let pages: u64 = zones.iter().map(|zone| zone.managed).sum();
    let release = names.release().to_string_lossy().into_owned();
    json!({
        "kernel": crate::litmus::kernel_name(&release, &names.version().to_string_lossy()),
        "release": release,
        "cpus": crate::litmus::usable_cpus(),
        "memory_bytes": pages * crate::area::page_size() as u64,
        "movable_bytes": zones.iter().filter(|zone| zone.name == "Movable").map(|zone| zone.managed).sum::<u64>()
            * crate::area::page_size() as u64,
    })
}

fn fact(fact: &'static str, found: String, there: bool, needed: bool, advice: &'static str) -> Fact {
    let status = if there { Status::There } else { Status::Missing };
    Fact { fact, found, status, needed, advice: if there { "" } else { advice } }
}

/// `CapEff` of this process.
fn capabilities(host: &Host) -> u64 {
    let status = host.text("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn has(capabilities: u64, number: u32) -> bool {
    capabilities & (1 << number) != 0
}

fn admin(rights: u64) -> Fact {
    let there = has(rights, SYS_ADMIN);
    let found = if there { "CAP_SYS_ADMIN" } else { "no CAP_SYS_ADMIN: frames are not shown" };
    fact("rights", found.to_owned(), there, true, "run as root")
}

fn ring(host: &Host) -> Fact {
    let off = host.text("/proc/sys/kernel/io_uring_disabled");
    let found = match (&host.ring, off.as_deref().map(str::trim)) {
        (Ok(()), _) => "rings can be made".to_owned(),
        (Err(error), Some(off @ ("1" | "2"))) => format!("{error}: kernel.io_uring_disabled is {off}"),
        (Err(error), _) => error.clone(),
    };
    let advice = if off.is_some_and(|off| off.trim() != "0") {
        "sysctl kernel.io_uring_disabled=0"
    } else {
        "a kernel with CONFIG_IO_URING, outside a sandbox that forbids it"
    };
    fact("io_uring", found, host.ring.is_ok(), true, advice)
}

fn movable(host: &Host) -> Fact {
    let zones = zoneinfo(&host.text("/proc/zoneinfo").unwrap_or_default());
    let zone: u64 = movable_frames(&zones).iter().map(|frames| frames.end - frames.start).sum();
    let cma = cma_pages(&zones);
    let said = |pages: u64| format!("{} MiB", (pages * crate::area::page_size() as u64) >> 20);
    let cma_said = cma.map_or("not shown".to_owned(), said);
    let found = match (zone, cma) {
        (0, None | Some(0)) => "no ZONE_MOVABLE and no CMA: no page has to move".to_owned(),
        (0, Some(pages)) => format!("CMA of {}, no ZONE_MOVABLE", said(pages)),
        (zone, _) => format!("ZONE_MOVABLE of {}, CMA: {cma_said}", said(zone)),
    };
    let there = zone > 0 || cma.is_some_and(|pages| pages > 0);
    fact("movable memory", found, there, true, "boot with movablecore=512M, or gupstress guest")
}

fn counts(host: &Host) -> Fact {
    let text = host.text("/proc/vmstat").unwrap_or_default();
    let counts = vmstat(&text);
    let lacking: Vec<&str> = ["nr_foll_pin_acquired", "pgmigrate_success", "pgmigrate_fail"]
        .into_iter()
        .filter(|name| !counts.contains_key(name))
        .collect();
    let refresh = host.path("/proc/sys/vm/stat_refresh").exists();
    let found = match (lacking.is_empty(), refresh) {
        (true, true) => "pins and migrations".to_owned(),
        (false, _) => format!("no {}", lacking.join(", ")),
        (true, false) => "no vm.stat_refresh: CPUs keep counts to themselves".to_owned(),
    };
    let advice = "a kernel since 5.7 with CONFIG_MIGRATION and CONFIG_PROC_SYSCTL";
    fact("vmstat", found, lacking.is_empty() && refresh, false, advice)
}

fn probes(host: &Host) -> Fact {
    let mounted = TRACEFS.iter().find(|path| host.path(path).join("kprobe_events").exists());
    let writable = mounted.is_some_and(|path| is_writable(&host.path(path).join("kprobe_events")));
    let found = match mounted {
        None => "no kprobe_events: calls of kernel functions are not counted".to_owned(),
        Some(path) if !writable => format!("{path}: not for this user"),
        Some(path) => format!("kprobes by {path}"),
    };
    let advice = "as root: mount -t tracefs tracefs /sys/kernel/tracing, with CONFIG_KPROBE_EVENTS";
    fact("tracefs", found, writable, false, advice)
}

fn is_writable(path: &Path) -> bool {
    fs::OpenOptions::new().append(true).open(path).is_ok()
}

fn settling(host: &Host) -> Fact {
    let found = if host.settles { "move_pages drains every CPU" } else { "move_pages is refused" };
    fact("drains", found.to_owned(), host.settles, true, "a kernel with CONFIG_NUMA and CONFIG_MIGRATION")
}

fn memlock(host: &Host, rights: u64) -> Fact {
    let enough = 64 << 20;
    let free = has(rights, IPC_LOCK);
    let found = match host.memlock {
        _ if free => "CAP_IPC_LOCK: no limit".to_owned(),
        None => "no limit".to_owned(),
        Some(bytes) => format!("{} KiB", bytes >> 10),
    };
    let there = free || host.memlock.is_none_or(|bytes| bytes >= enough);
    fact("memlock", found, there, false, "ulimit -l unlimited")
}

fn known(name: &'static str, files: &[(&str, &str)], host: &Host) -> Fact {
    let said: Vec<String> = files.iter().map(|(key, path)| format!("{key}: {}", host.word(path))).collect();
    Fact { fact: name, found: said.join(", "), status: Status::Known, needed: false, advice: "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, files: &[(&str, &str)]) -> Host {
        let root = std::env::temp_dir().join(format!("gupstress-facts-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Host { root, ring: Ok(()), settles: true, memlock: Some(8 << 20) }
    }

    fn found<'f>(facts: &'f [Fact], name: &str) -> &'f Fact {
        facts.iter().find(|fact| fact.fact == name).unwrap()
    }

    const ROOT: (&str, &str) = ("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");

    #[test]
    fn a_guest_with_movable_memory_lacks_nothing() {
        let files = [
            ROOT,
            ("proc/zoneinfo", include_str!("../tests/texts/zoneinfo-6.12.117")),
            ("proc/vmstat", include_str!("../tests/texts/vmstat-6.12.117")),
            ("proc/sys/vm/stat_refresh", ""),
            ("sys/kernel/tracing/kprobe_events", ""),
        ];
        let host = host("guest", &files);
        let facts = facts(&host);
        assert_eq!(missing(&facts), None);
        assert_eq!(found(&facts, "movable memory").found, "ZONE_MOVABLE of 255 MiB, CMA: 0 MiB");
        assert!(facts.iter().all(|fact| fact.status != Status::Missing), "{facts:?}");
        fs::remove_dir_all(&host.root).unwrap();
    }

    #[test]
    fn what_is_missing_says_what_to_do() {
        let none: Vec<&str> =
            include_str!("../tests/texts/zoneinfo-6.12.117").split("Node 0, zone  Movable").collect();
        let files = [
            ("proc/self/status", "CapEff:\t0000000000000000\n"),
            ("proc/zoneinfo", none[0]),
            ("proc/vmstat", "nr_free_pages 3\n"),
            ("proc/sys/kernel/io_uring_disabled", "2\n"),
        ];
        let host =
            Host { ring: Err("Operation not permitted".to_owned()), settles: false, ..host("bare", &files) };
        let facts = facts(&host);
        for (name, needed, advice) in [
            ("rights", true, "root"),
            ("io_uring", true, "sysctl kernel.io_uring_disabled=0"),
            ("movable memory", true, "movablecore="),
            ("vmstat", false, "5.7"),
            ("tracefs", false, "mount -t tracefs"),
            ("drains", true, "CONFIG_NUMA"),
            ("memlock", false, "ulimit -l"),
        ] {
            let fact = found(&facts, name);
            assert_eq!((fact.status, fact.needed), (Status::Missing, needed), "{fact:?}");
            assert!(fact.advice.contains(advice), "{fact:?}");
        }
        let line = missing(&facts).unwrap();
        assert!(line.contains("no ZONE_MOVABLE") && !line.contains("tracefs"), "{line}");
        fs::remove_dir_all(&host.root).unwrap();
    }
}
