//! What callers are charged for what they keep, when, and what becomes of a call beyond a limit.
#![cfg(not(loom))]

use gupstress_run::judge::Class;
use gupstress_run::litmus::{Outcome, SESSION_LAYOUT, Session};
use gupstress_run::machine::{Backing, CpuId, Kind, MAX_ORDER, MappingId, PageIndex, pages};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::policy::{Account, Source, load_kernel, load_policy};
use gupstress_run::script::{Op, OpError, Player as _};

const PINNED: (Option<Errno>, Class) = (None, Class::Pinned);
const OVER: (Option<Errno>, Class) = (Some(Errno::ENOMEM), Class::FailedJustified);

fn session(kernel: &str, memlock: u32) -> Session {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    let session = Session::new(rules, policy, &SESSION_LAYOUT, 2);
    session.machine().accounts.set_memlock(memlock);
    session
}

/// A mapping with every page written, on the LRU.
fn touched(s: &mut Session, backing: impl Into<Backing>, pages: u32) -> MappingId {
    let mapping = s.map(backing, pages).unwrap();
    s.touch(CpuId(0), mapping, PageIndex(0).run(pages)).unwrap();
    s.drain_all().unwrap();
    mapping
}

fn pin(s: &mut Session, caller: Caller, mapping: MappingId, pages: u32) -> Outcome {
    s.pin_by(caller, CpuId(0), mapping, PageIndex(0).run(pages), true).unwrap()
}

fn ended(outcome: &Outcome) -> (Option<Errno>, Class) {
    (outcome.error, outcome.class)
}

fn charged(s: &Session, account: Account) -> u64 {
    s.machine().accounts.charged()[account as usize]
}

#[test]
fn each_count_is_held_against_memlock_by_itself() {
    let mut s = session("linux-7.2.13", 8);
    let a = touched(&mut s, Kind::Shmem, 9);
    for (caller, account) in [
        (Caller::IoUring, Account::UserLocked),
        (Caller::Vfio, Account::MmLocked),
        (Caller::Umem, Account::MmPinned),
    ] {
        let first = pin(&mut s, caller, a, 8);
        assert_eq!((ended(&first), charged(&s, account)), (PINNED, 8), "{caller:?}");
        assert_eq!((ended(&pin(&mut s, caller, a, 1)), charged(&s, account)), (OVER, 8), "{caller:?}");
        s.unpin(CpuId(0), first.pin.unwrap()).unwrap();
        // More than there may be at all, and as much as that.
        assert_eq!((ended(&pin(&mut s, caller, a, 9)), charged(&s, account)), (OVER, 0), "{caller:?}");
        assert_eq!(ended(&pin(&mut s, caller, a, 8)), PINNED, "{caller:?}");
    }
    for caller in [Caller::Udmabuf, Caller::GupFast, Caller::GupSlow] {
        assert_eq!(ended(&pin(&mut s, caller, a, 9)), PINNED, "{caller:?}: nobody counts");
    }
    assert_eq!(s.machine().accounts.charged(), [8, 8, 8, 1]);
    assert_eq!(s.recount().broken, []);
}

#[test]
fn who_may_lock_any_number_is_not_counted() {
    let mut s = session("linux-7.2.13", 0);
    let a = touched(&mut s, Kind::Anon, 9);
    for caller in [Caller::IoUring, Caller::Vfio, Caller::Umem] {
        assert_eq!(ended(&pin(&mut s, caller, a, 9)), PINNED);
    }
    assert_eq!(s.machine().accounts.charged(), [0, 0, 0, 1]);
}

/// Of a call beyond the limit: pages acquired, pages migrated.
#[test]
fn umem_is_refused_before_a_page_is_looked_at_and_others_after() {
    for (caller, pages, limit, expected) in [
        (Caller::Umem, 4, 3, [0, 0]),
        (Caller::IoUring, 4, 3, [8, 4]),
        // The first of its calls is within the limit, the second not; what comes after is not made.
        (Caller::Vfio, 1200, 600, [2048, 1024]),
    ] {
        let mut s = session("linux-7.2.13", limit);
        let a = touched(&mut s, Kind::Anon, pages);
        let outcome = pin(&mut s, caller, a, pages);
        let events = [Event::Acquired, Event::Migrated].map(|event| outcome.counters.get(event));
        assert_eq!((ended(&outcome), events), (OVER, expected), "{caller:?}");
        assert_eq!(outcome.counters.get(Event::Released), expected[0], "{caller:?}");
        assert_eq!(s.machine().accounts.charged(), [0; Account::COUNT], "{caller:?}");
        assert_eq!(s.recount().broken, [], "{caller:?}");
    }
}

#[test]
fn a_buffer_counts_all_of_a_huge_page_and_once() {
    let mut s = session("linux-7.2.13", 512);
    let a = touched(&mut s, Backing { kind: Kind::Anon, order: MAX_ORDER }, 1024);
    for (pages, expected) in [(1, PINNED), (512, PINNED), (513, OVER)] {
        let outcome = pin(&mut s, Caller::IoUring, a, pages);
        assert_eq!(ended(&outcome), expected, "{pages} pages");
        if let Some(held) = outcome.pin {
            assert_eq!(charged(&s, Account::UserLocked), 512);
            s.unpin(CpuId(0), held).unwrap();
        }
    }
    // Page for page elsewhere.
    assert_eq!(ended(&pin(&mut s, Caller::Vfio, a, 1)), PINNED);
    assert_eq!(charged(&s, Account::MmLocked), 1);
}

#[test]
fn vfio_counts_no_zero_page() {
    let mut s = session("linux-6.1.192", 1);
    let a = s.map(Kind::Anon, 4).unwrap();
    let outcome = s.pin_by(Caller::Vfio, CpuId(0), a, pages(0..4), false).unwrap();
    assert_eq!((ended(&outcome), charged(&s, Account::MmLocked)), (PINNED, 0));
}

#[test]
fn so_many_dma_mappings_and_no_more() {
    let mut s = session("linux-7.2.13", 0);
    s.machine().accounts.set_dma_entry_limit(2);
    let a = touched(&mut s, Kind::Anon, 4);
    let mut held: Vec<usize> = (0..2).map(|_| pin(&mut s, Caller::Vfio, a, 2).pin.unwrap()).collect();
    let third = pin(&mut s, Caller::Vfio, a, 2);
    assert_eq!(ended(&third), (Some(Errno::ENOSPC), Class::FailedJustified));
    assert_eq!(third.counters.get(Event::Acquired), 0);
    assert_eq!(ended(&pin(&mut s, Caller::Umem, a, 2)), PINNED, "no mapping of VFIO's");
    s.unpin(CpuId(0), held.pop().unwrap()).unwrap();
    assert_eq!(ended(&pin(&mut s, Caller::Vfio, a, 2)), PINNED);
}

#[test]
fn a_call_that_fails_for_another_reason_is_charged_nothing() {
    let mut s = session("linux-7.2.13", 64);
    let a = touched(&mut s, Kind::Anon, 8);
    s.munmap(CpuId(0), a, pages(4..8)).unwrap();
    for caller in [Caller::IoUring, Caller::Vfio, Caller::Umem] {
        let outcome = pin(&mut s, caller, a, 8);
        assert_eq!(ended(&outcome), (Some(Errno::EFAULT), Class::FailedJustified), "{caller:?}");
        assert_eq!(s.machine().accounts.charged(), [0; Account::COUNT], "{caller:?}");
    }
}

#[test]
fn a_script_limits_callers_while_nothing_is_pinned() {
    for (limit, pin, within, error) in [
        ("memlock", "pin a", 4, Errno::ENOMEM),
        ("memlock", "pin a by umem", 4, Errno::ENOMEM),
        ("dma_entries", "vfpin a", 1, Errno::ENOSPC),
    ] {
        let mut s = session("linux-7.2.13", 0);
        let play = |s: &mut Session, text: &str| s.play(CpuId(0), &Op::parse(text).unwrap());
        let pinned = |s: &mut Session| play(s, pin).unwrap().unwrap();
        play(&mut s, "map a 4 anon").unwrap();
        play(&mut s, &format!("{limit} {within}")).unwrap();
        assert_eq!(ended(&pinned(&mut s)), PINNED, "{pin}");
        assert!(matches!(play(&mut s, &format!("{limit} 0")), Err(OpError::Misuse(_))), "{pin}");
        play(&mut s, "unpin a").unwrap();
        play(&mut s, "memlock 3").unwrap();
        play(&mut s, "dma_entries 0").unwrap();
        assert_eq!(ended(&pinned(&mut s)), (Some(error), Class::FailedJustified), "{pin}");
        play(&mut s, "memlock 0").unwrap();
        play(&mut s, "dma_entries 1").unwrap();
        assert_eq!(ended(&pinned(&mut s)), PINNED, "{pin}");
    }
}

#[test]
fn a_registered_buffer_in_large_folios_keeps_one_pin_of_each() {
    // Folios of 16 pages; eight pages at the end have no room for one.
    for (range, [one, several]) in [
        (0..64, [0, 60]),
        (1..16, [14, 14]),
        (2..50, [0, 44]),
        (16..17, [0, 0]),
        (40..72, [0, 0]),
        (64..72, [0, 0]),
    ] {
        for (kernel, expected) in [("linux-6.1.192", 0), ("linux-6.11", one), ("linux-7.2.13", several)] {
            let mut s = session(kernel, 0);
            let a = s.map(Backing { kind: Kind::Anon, order: 4 }, 72).unwrap();
            let range = pages(range.clone());
            let pinned = s.pin_by(Caller::IoUring, CpuId(0), a, range.clone(), true).unwrap();
            let counted = [Event::Acquired, Event::Released].map(|event| pinned.counters.get(event));
            assert_eq!(counted, [range.len() as u64, expected], "{kernel} {range:?}");
            assert_eq!(s.recount().broken, [], "{kernel} {range:?}");
            // Others keep a pin of each page.
            let other = s.pin_by(Caller::GupFast, CpuId(0), a, range.clone(), true).unwrap();
            assert_eq!(other.counters.get(Event::Released), 0, "{kernel} {range:?}");
            for held in [pinned, other] {
                s.unpin(CpuId(0), held.pin.unwrap()).unwrap();
                assert_eq!(s.recount().broken, [], "{kernel} {range:?}");
            }
        }
    }
}
