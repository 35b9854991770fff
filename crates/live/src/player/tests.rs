//! Scripts on the kernel that runs: what each step does there, and what is refused by name.

use super::*;
use gupstress_run::litmus::Scenario;
use std::fs::File;
use std::os::unix::fs::FileExt;

#[test]
fn steps_do_what_system_calls_do() {
    let counters = Counters::open(crate::probes::Probes::default()).unwrap();
    let places = Places::read().unwrap();
    let steps = [
        "map a 4 anon",
        "touch a",
        "map b 2 shmem",
        "touch b",
        "fill 3",
        "mlock a 0 2",
        "munlock a",
        "cold a",
        "lazyfree a 3 4",
        "hold a 1",
        "hold b 0",
        "release a 1",
        "release b 0",
        "share a",
        "sharew b",
        "childexit",
        "dontneed a 0 1",
        "read a",
        "drain",
        "settle",
        "vhold a 1 3",
        "release",
        "write b",
        "alias b 1 2",
        "remove b 0 1",
        "map c 512 anon",
        "touch c",
        "pmdsplit c 0 1",
        "mremap c",
        "rdonly c 0 256",
        "unmap c 0 128",
        "unmap b",
        "sleep",
        "pin a",
        "unpin a",
    ];
    let text = format!("steps = {steps:?}");
    let scenario = Scenario::parse("all", &text).unwrap();
    let Ok(mut script) = Script::new(&counters, &places, 1) else { return };
    for step in &scenario.program.steps {
        check(&step.op).unwrap();
        // What a host may forbid is refused by name, and nothing else of it fails.
        match script.play(CpuId(0), &step.op) {
            Ok(_) => {}
            Err(OpError::Misuse(why)) if why.contains("io_uring") || why.contains("root") => return,
            Err(error) => panic!("{step:?}: {error}"),
        }
    }
    assert!(script.children.is_empty() && script.pins.is_empty());
    assert_eq!(script.area(&Name("a".to_owned())).unwrap().word(2, 0), 3);
}

/// Bits of the children's `/proc/PID/pagemap`: `PM_PRESENT`, `PM_MMAP_EXCLUSIVE`.
fn pagemaps(script: &Script, name: &str) -> Vec<Vec<(bool, bool)>> {
    let area = script.area(&Name(name.to_owned())).unwrap();
    let (start, bytes) = area.span(&(0..area.pages()));
    let page = bytes / area.pages() as usize;
    script
        .children
        .iter()
        .map(|child| {
            let map = File::open(format!("/proc/{}/pagemap", child.as_raw_nonzero())).unwrap();
            let mut words = vec![0; area.pages() as usize * 8];
            map.read_exact_at(&mut words, (start as usize / page * 8) as u64).unwrap();
            let words = words.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
            words.map(|word| (word >> 63 & 1 == 1, word >> 56 & 1 == 1)).collect()
        })
        .collect()
}

#[test]
fn a_child_that_writes_some_pages_has_all_of_them_and_has_written_when_the_step_ends() {
    let counters = Counters::open(crate::probes::Probes::default()).unwrap();
    let places = Places::read().unwrap();
    let mut script = Script::new(&counters, &places, 1).unwrap();
    for step in ["map a 4 anon", "touch a", "share a 1 3", "sharew a 1 2"] {
        script.play(CpuId(0), &Op::parse(step).unwrap()).unwrap();
    }
    let [kept, own, none] = [(true, false), (true, true), (false, false)];
    assert_eq!(pagemaps(&script, "a"), [[none, kept, kept, none], [kept, own, kept, kept]]);
}

#[test]
fn a_step_without_system_calls_is_refused_by_name() {
    for (text, near) in [
        ("pinro a 0 1", "vfpinro"),
        ("lock a 0", "--on model"),
        ("pin a by gup-fast", "--on model"),
        ("map a 4 file", "shmem"),
        ("fragment", "--on model"),
        ("memlock 8", "the limit is that of who runs this; nearest: --on model"),
        ("dma_entries 8", "the limit is the kernel's; nearest: --on model"),
    ] {
        let error = check(&Op::parse(text).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(text) && error.ends_with(near), "{error}");
    }
}

#[test]
fn a_pin_by_vfio_is_refused_by_name_where_there_is_no_device() {
    if !crate::vfio::groups(std::path::Path::new(crate::vfio::FOLDER)).is_empty() {
        return;
    }
    let counters = Counters::open(crate::probes::Probes::default()).unwrap();
    let places = Places::read().unwrap();
    let Ok(mut script) = Script::new(&counters, &places, 1) else { return };
    script.play(CpuId(0), &Op::parse("map a 1 anon").unwrap()).unwrap();
    for step in ["vfpin a", "vfpinro a", "pin a by vfio", "pinro a by vfio"] {
        let step = Op::parse(step).unwrap();
        check(&step).unwrap();
        let said = script.play(CpuId(0), &step).unwrap_err().to_string();
        let word = step.word();
        assert!(said.contains(&format!("{word}: not on this kernel: no group of devices in")), "{said}");
        assert_eq!(script.spare.len(), 1, "a ring was unmapped before what is counted");
    }
}
