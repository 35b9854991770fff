//! What a program does to its address space around a pin, and who pins: each rule by a machine on
//! which nothing else happens.
#![cfg(not(loom))]

use gupstress_run::judge::Class;
use gupstress_run::litmus::{Outcome, Session};
use gupstress_run::machine::{
    Backing, CpuId, Frame, Kind, Layout, MappingId, PageIndex, ZoneKind, flag, pages,
};
use gupstress_run::observe::Event;
use gupstress_run::ops::{Caller, Errno};
use gupstress_run::policy::{Source, load_kernel, load_policy};
use gupstress_run::script::OpError;

/// Where things are done.
const CPU: CpuId = CpuId(0);

const LAYOUT: Layout = Layout { normal: 4096, movable: 4096, cma: 0, page_bytes: 64 };

fn session(kernel: &str) -> Session {
    let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
    let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
    Session::new(rules, policy, &LAYOUT, 2)
}

/// A mapping with every page written, on the LRU.
fn touched(session: &mut Session, kind: Kind, pages: u32) -> MappingId {
    let mapping = session.map(kind, pages).unwrap();
    session.touch(CPU, mapping, PageIndex(0).run(pages)).unwrap();
    session.drain_all().unwrap();
    mapping
}

fn frame(session: &Session, mapping: MappingId, index: u32) -> Frame {
    session.page(mapping, PageIndex(index)).unwrap().unwrap().frame
}

fn sound(session: &Session) {
    let recount = session.recount();
    assert!(recount.complete && recount.broken.is_empty(), "{:#?}", recount.broken);
}

fn errno<T: std::fmt::Debug>(result: Result<T, OpError>) -> Errno {
    match result.unwrap_err() {
        OpError::Refused { errno, .. } => errno,
        other => panic!("{other}"),
    }
}

fn counts<const N: usize>(outcome: &Outcome, events: [Event; N]) -> [u64; N] {
    events.map(|event| outcome.counters.get(event))
}

// ------------------------------------------------------------ areas

#[test]
fn a_hole_is_a_bad_address_for_programs_calls_and_pins() {
    let mut s = session("linux-7.2.13");
    let a = touched(&mut s, Kind::Anon, 8);
    s.munmap(CPU, a, pages(4..6)).unwrap();
    assert_eq!(errno(s.touch(CPU, a, pages(3..5))), Errno::EFAULT);
    assert_eq!(errno(s.read(CPU, a, pages(5..6))), Errno::EFAULT);
    assert_eq!(errno(s.mlock(CPU, a, pages(2..8))), Errno::ENOMEM);
    s.munlock(CPU, a, pages(2..4)).unwrap();
    assert_eq!(errno(s.cold(CPU, a, pages(0..8))), Errno::ENOMEM);
    let outcome = s.pin(CPU, a, pages(0..8), true).unwrap();
    assert_eq!((outcome.error, outcome.class), (Some(Errno::EFAULT), Class::FailedJustified));
    // Those before it were pinned, and moved; those after it were not looked at.
    let zones: Vec<Option<ZoneKind>> =
        (0..8).map(|index| s.page(a, PageIndex(index)).unwrap().map(|page| page.zone)).collect();
    let (moved, stayed) = (Some(ZoneKind::Normal), Some(ZoneKind::Movable));
    assert_eq!(zones, [moved, moved, moved, moved, None, None, stayed, stayed]);
    sound(&s);
}

#[test]
fn a_read_only_area_takes_pins_that_read() {
    let mut s = session("linux-7.2.13");
    let a = touched(&mut s, Kind::Anon, 4);
    s.rdonly(CPU, a, pages(2..4)).unwrap();
    assert_eq!(errno(s.touch(CPU, a, pages(2..3))), Errno::EFAULT);
    s.read(CPU, a, pages(0..4)).unwrap();
    let failed = s.pin(CPU, a, pages(2..4), true).unwrap();
    assert_eq!((failed.error, failed.class), (Some(Errno::EFAULT), Class::FailedJustified));
    assert_eq!(counts(&failed, [Event::Acquired, Event::Faults]), [0, 0]);
    assert_eq!(s.pin(CPU, a, pages(0..4), false).unwrap().class, Class::Pinned);
    sound(&s);
}

#[test]
fn unmapping_drains_this_cpu_to_6_13() {
    for (kernel, drains) in [("linux-6.1.192", true), ("linux-6.12.117", true), ("linux-6.16.12", false)] {
        for act in [
            (|s: &mut Session, a| s.munmap(CPU, a, pages(0..1)))
                as fn(&mut Session, MappingId) -> Result<(), OpError>,
            |s, a| s.mremap(CPU, a),
            |s, a| s.dontneed(CPU, a, pages(0..1)),
        ] {
            let mut s = session(kernel);
            let a = s.map(Kind::Anon, 2).unwrap();
            s.touch(CPU, a, pages(0..2)).unwrap();
            act(&mut s, a).unwrap();
            let listed = s.page(a, PageIndex(1)).unwrap().unwrap().batches.is_empty();
            assert_eq!(listed, drains, "{kernel}");
        }
    }
}

// ------------------------------------------------------------ files

#[test]
fn a_file_with_a_backing_store_is_not_pinned_for_writing_from_6_5() {
    for (kernel, refused) in [("linux-6.1.192", false), ("linux-6.12.117", true)] {
        let mut s = session(kernel);
        let a = touched(&mut s, Kind::File, 4);
        assert!(s.pin(CPU, a, pages(0..4), false).unwrap().error.is_none(), "{kernel}");
        let outcome = s.pin(CPU, a, pages(0..4), true).unwrap();
        assert_eq!(outcome.error.is_some(), refused, "{kernel}");
        if refused {
            assert_eq!((outcome.error, outcome.class), (Some(Errno::EFAULT), Class::FailedJustified));
            assert_eq!(counts(&outcome, [Event::Acquired, Event::GupFast]), [0, 0]);
        }
        sound(&s);
    }
}

#[test]
fn a_store_to_a_file_is_noticed_one_to_shared_memory_is_not() {
    let mut s = session("linux-7.2.13");
    let dirty = |s: &Session, a| s.machine().page(frame(s, a, 0)).has(flag::DIRTY);
    let a = s.map(Kind::File, 1).unwrap();
    s.read(CPU, a, pages(0..1)).unwrap();
    assert!(!dirty(&s, a), "read only");
    let was = frame(&s, a, 0);
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert!(dirty(&s, a) && frame(&s, a, 0) == was);
    let b = s.map(Kind::Shmem, 1).unwrap();
    s.read(CPU, b, pages(0..1)).unwrap();
    let before = s.pin(CPU, b, pages(0..1), true).unwrap();
    assert_eq!(counts(&before, [Event::Faults]), [0], "what reads map may be written");
    sound(&s);
}

#[test]
fn what_no_pin_may_have_is_refused_to_all_of_them() {
    for kind in [Kind::Secret, Kind::Pfnmap] {
        let mut s = session("linux-7.2.13");
        let a = touched(&mut s, kind, 2);
        for caller in [Caller::IoUring, Caller::Vfio, Caller::GupSlow] {
            for write in [true, false] {
                let outcome = s.pin_by(caller, CPU, a, pages(0..2), write).unwrap();
                assert_eq!((outcome.error, outcome.class), (Some(Errno::EFAULT), Class::FailedJustified));
                assert_eq!(counts(&outcome, [Event::Acquired]), [0]);
            }
        }
        sound(&s);
        s.unmap(CPU, a).unwrap();
        sound(&s);
    }
}

#[test]
fn pages_of_ramfs_are_unevictable_and_movable() {
    let mut s = session("linux-7.2.13");
    let a = touched(&mut s, Kind::Ramfs, 2);
    let unevictable = |s: &Session| s.machine().page(frame(s, a, 0)).has(flag::UNEVICTABLE);
    assert!(unevictable(&s));
    let outcome = s.pin(CPU, a, pages(0..2), true).unwrap();
    assert_eq!(counts(&outcome, [Event::Migrated]), [2]);
    s.drain_all().unwrap();
    assert!(unevictable(&s));
    sound(&s);
}

#[test]
fn a_second_mapping_and_a_write_reach_the_same_page() {
    let mut s = session("linux-7.2.13");
    let a = s.map(Kind::Shmem, 3).unwrap();
    s.write(CPU, a, pages(0..1)).unwrap();
    assert!(s.page(a, PageIndex(0)).unwrap().is_none(), "in the page cache only");
    s.alias(CPU, a, pages(0..2)).unwrap();
    s.touch(CPU, a, pages(0..3)).unwrap();
    let mapcounts: Vec<i32> =
        (0..3).map(|index| s.page(a, PageIndex(index)).unwrap().unwrap().mapcount).collect();
    assert_eq!(mapcounts, [2, 2, 1]);
    // A child's exit takes its own mapping, not the program's second one.
    s.children_exit(CPU).unwrap();
    assert_eq!(s.page(a, PageIndex(0)).unwrap().unwrap().mapcount, 2);
    s.drain_all().unwrap();
    assert_eq!(s.pin(CPU, a, pages(0..3), true).unwrap().class, Class::Pinned);
    sound(&s);
    let b = s.map(Kind::Anon, 1).unwrap();
    assert_eq!(errno(s.alias(CPU, b, pages(0..1))), Errno::EINVAL);
    assert_eq!(errno(s.write(CPU, b, pages(0..1))), Errno::EINVAL);
    assert_eq!(errno(s.remove(CPU, b, pages(0..1))), Errno::EINVAL);
}

#[test]
fn a_read_maps_what_is_cached_around_its_page_within_its_area() {
    // The last whole folio: as much as 16 pages, or since 6.18 all of it.
    for (kernel, order, mapped) in [
        ("linux-7.2.13", 0, 16..32),
        ("linux-6.12.117", 5, 16..32),
        ("linux-7.2.13", 5, 0..32),
        ("linux-7.2.13", 6, 0..40),
    ] {
        let mut s = session(kernel);
        let a = s.map(Backing { kind: Kind::Shmem, order }, 64).unwrap();
        s.touch(CPU, a, pages(0..64)).unwrap();
        s.dontneed(CPU, a, pages(0..64)).unwrap();
        s.mlock(CPU, a, pages(40..64)).unwrap();
        s.read(CPU, a, pages(20..21)).unwrap();
        let found: Vec<u32> =
            (0..64).filter(|&index| s.page(a, PageIndex(index)).unwrap().is_some()).collect();
        assert_eq!(found, mapped.collect::<Vec<_>>(), "{kernel} {order}");
        sound(&s);
    }
}

#[test]
fn a_pipe_takes_a_files_page_from_the_page_cache_and_vmsplice_maps_it() {
    let mut s = session("linux-7.2.13");
    let a = touched(&mut s, Kind::Shmem, 17);
    s.dontneed(CPU, a, pages(0..17)).unwrap();
    s.hold(CPU, a, pages(0..1)).unwrap();
    // Farther than a read fault maps what is cached around its page.
    s.vhold(CPU, a, pages(16..17)).unwrap();
    let mapped = [0, 15, 16].map(|index| s.page(a, PageIndex(index)).unwrap().is_some());
    assert_eq!(mapped, [false, false, true]);
    let outcome = s.pin(CPU, a, pages(0..17), true).unwrap();
    assert_eq!((outcome.error, outcome.class), (Some(Errno::ENOMEM), Class::FailedJustified));
    s.release_all(CPU).unwrap();
    assert_eq!(s.pin(CPU, a, pages(0..17), true).unwrap().class, Class::Pinned);
    sound(&s);
}

// ------------------------------------------------------------ under a pin

#[test]
fn a_frame_lives_by_its_pin_and_the_program_gets_another() {
    type Act = fn(&mut Session, MappingId) -> Result<(), OpError>;
    let acts: [(Kind, Act, bool); 6] = [
        (Kind::Anon, |s, a| s.munmap(CPU, a, pages(1..2)), true),
        (Kind::Anon, |s, a| s.dontneed(CPU, a, pages(1..2)), true),
        (Kind::Shmem, |s, a| s.remove(CPU, a, pages(1..2)), true),
        // The page cache has the page still: the next access maps it again.
        (Kind::Shmem, |s, a| s.dontneed(CPU, a, pages(1..2)), false),
        (Kind::Anon, |s, a| s.mremap(CPU, a), false),
        (Kind::Anon, |s, a| s.share(CPU, a, pages(0..4)), false),
    ];
    for (number, (kind, act, severs)) in acts.into_iter().enumerate() {
        for write in [true, false] {
            let mut s = session("linux-7.2.13");
            let a = touched(&mut s, kind, 4);
            let pin = s.pin(CPU, a, pages(0..4), write).unwrap().pin.unwrap();
            let was = frame(&s, a, 1);
            assert_eq!(s.severed(pin).unwrap(), []);
            act(&mut s, a).unwrap();
            let severed: &[PageIndex] = if severs { &[PageIndex(1)] } else { &[] };
            assert_eq!(s.severed(pin).unwrap(), severed, "act {number}");
            sound(&s);
            assert!(s.machine().page(was).refcount() >= 1024, "act {number}");
            if s.touch(CPU, a, pages(1..2)).is_ok() {
                assert_eq!(frame(&s, a, 1) == was, !severs, "act {number}");
            }
            sound(&s);
            s.unpin(CPU, pin).unwrap();
            sound(&s);
            assert!(s.severed(pin).is_err());
        }
    }
}

#[test]
fn a_mapping_is_unmapped_under_its_pins() {
    let mut s = session("linux-7.2.13");
    let a = touched(&mut s, Kind::Anon, 4);
    let pin = s.pin(CPU, a, pages(0..4), true).unwrap().pin.unwrap();
    let frames: Vec<Frame> = (0..4).map(|index| frame(&s, a, index)).collect();
    s.unmap(CPU, a).unwrap();
    sound(&s);
    assert_eq!(s.severed(pin).unwrap(), pages(0..4).collect::<Vec<_>>());
    for &frame in &frames {
        let page = s.machine().page(frame);
        assert_eq!((page.mapcount(), page.refcount()), (0, 1024 + i32::from(!page.has(flag::LRU))));
    }
    s.unpin(CPU, pin).unwrap();
    s.drain_all().unwrap();
    assert!(frames.iter().all(|&frame| s.machine().page(frame).refcount() == 0));
    sound(&s);
}

// ------------------------------------------------------------ callers

/// Pages 0 to 3 lie where they may stay, page 6 is held: what a caller makes of page 6.
fn half_good(caller: Caller) -> (Session, Outcome) {
    let mut s = session("linux-6.12.43");
    let a = touched(&mut s, Kind::Anon, 8);
    let pin = s.pin(CPU, a, pages(0..4), true).unwrap().pin.unwrap();
    s.unpin(CPU, pin).unwrap();
    s.drain_all().unwrap();
    s.hold(CPU, a, pages(6..7)).unwrap();
    let outcome = s.pin_by(caller, CPU, a, pages(0..8), true).unwrap();
    sound(&s);
    (s, outcome)
}

#[test]
fn a_short_count_fails_or_is_gone_on_from() {
    for (caller, error, acquired, entries) in [
        // GUP-fast has four, the loop the other four: a short count, all given back.
        (Caller::IoUring, Errno::EFAULT, 8, 1),
        (Caller::GupFast, Errno::EFAULT, 8, 1),
        // The whole range in the loop.
        (Caller::GupSlow, Errno::ENOMEM, 8, 1),
        (Caller::Vfio, Errno::ENOMEM, 8, 1),
        // Goes on at page 4: 4 and 5 lie outside Movable by now and are a short count again;
        // at page 6 the call says what is wrong.
        (Caller::Umem, Errno::ENOMEM, 8 + 4 + 2, 3),
    ] {
        let (_, outcome) = half_good(caller);
        assert_eq!((outcome.error, outcome.class), (Some(error), Class::FailedJustified), "{caller:?}");
        let counted = counts(&outcome, [Event::Acquired, Event::Released, Event::SlowEntries]);
        assert_eq!(counted, [acquired, acquired, entries], "{caller:?}");
    }
}

#[test]
fn chunks_have_sweeps_of_their_own_and_stay_moved() {
    let pages = 1100;
    for (caller, calls, moved) in
        [(Caller::Vfio, 3, 1024), (Caller::Umem, 3, 1024), (Caller::GupFast, 1, pages - 1)]
    {
        let mut s = session("linux-6.12.117");
        let a = touched(&mut s, Kind::Anon, pages);
        s.hold(CPU, a, PageIndex(pages - 1).run(1)).unwrap();
        let outcome = s.pin_by(caller, CPU, a, PageIndex(0).run(pages), true).unwrap();
        assert_eq!(outcome.error, Some(Errno::ENOMEM), "{caller:?}");
        let [acquired, released, migrate_calls] =
            counts(&outcome, [Event::Acquired, Event::Released, Event::MigrateCalls]);
        assert_eq!((acquired, migrate_calls), (released, calls), "{caller:?}");
        let zone = |index| s.page(a, index).unwrap().unwrap().zone;
        assert!((0..moved).all(|index| zone(PageIndex(index)) == ZoneKind::Normal), "{caller:?}");
        sound(&s);
    }
}

#[test]
fn udmabuf_pins_a_memfd_where_the_kernel_has_it() {
    let mut s = session("linux-6.1.192");
    let a = touched(&mut s, Kind::Shmem, 1);
    let error = s.pin_by(Caller::Udmabuf, CPU, a, pages(0..1), true).unwrap_err().to_string();
    assert!(error.contains("memfd_pin_folios") && error.contains("nearest"), "{error}");
    let mut s = session("linux-6.12.117");
    let b = touched(&mut s, Kind::Anon, 1);
    let error = s.pin_by(Caller::Udmabuf, CPU, b, pages(0..1), true).unwrap_err().to_string();
    assert!(error.contains("anon") && error.contains("nearest: shmem"), "{error}");
    // No page table is needed, nor a page.
    let c = s.map(Kind::Shmem, 40).unwrap();
    let outcome = s.pin_by(Caller::Udmabuf, CPU, c, pages(0..40), true).unwrap();
    assert_eq!(outcome.class, Class::Pinned);
    assert_eq!(counts(&outcome, [Event::Acquired, Event::Faults, Event::MlockDrain]), [40, 0, 1]);
    assert!(s.page(c, PageIndex(0)).unwrap().is_none());
    let pin = outcome.pin.unwrap();
    assert_eq!(s.severed(pin).unwrap(), []);
    s.touch(CPU, c, pages(0..40)).unwrap();
    sound(&s);
    s.unpin(CPU, pin).unwrap();
    sound(&s);
}

// ------------------------------------------------------------ the end of a program

#[test]
fn exec_leaves_the_frames_to_the_devices_and_exit_takes_the_pins_too() {
    for exits in [false, true] {
        let mut s = session("linux-7.2.13");
        let a = touched(&mut s, Kind::Anon, 4);
        let b = touched(&mut s, Kind::Shmem, 4);
        let pins = [a, b].map(|mapping| s.pin(CPU, mapping, pages(0..4), true).unwrap().pin.unwrap());
        let frames = [a, b].map(|mapping| frame(&s, mapping, 0));
        s.drain_all().unwrap();
        if exits {
            s.exit(CPU).unwrap();
            assert!(pins.iter().all(|&pin| s.severed(pin).is_err()), "no pin is left");
        } else {
            s.exec(CPU).unwrap();
            for (pin, frame) in pins.into_iter().zip(frames) {
                assert_eq!(s.severed(pin).unwrap(), pages(0..4).collect::<Vec<_>>());
                let page = s.machine().folio(frame);
                assert_eq!((page.folio_mapcount(), page.refcount()), (0, s.machine().pin_bias(page)));
            }
        }
        assert!(matches!(s.touch(CPU, a, pages(0..1)), Err(OpError::Misuse(_))), "it is unmapped");
        sound(&s);
        if !exits {
            pins.into_iter().for_each(|pin| s.unpin(CPU, pin).unwrap());
        }
        s.drain_all().unwrap();
        assert!(frames.iter().all(|&frame| s.machine().folio(frame).refcount() == 0), "all is free");
        sound(&s);
    }
}

// ------------------------------------------------------------ pages never stored to

#[test]
fn since_6_12_the_zero_page_stands_for_parts_of_a_split_folio_that_were_never_stored_to() {
    for (kernel, zero) in
        [("linux-6.1.192", false), ("linux-6.11", false), ("linux-6.12.117", true), ("linux-7.3.4", true)]
    {
        let events = [Event::Acquired, Event::Migrated, Event::Faults, Event::TargetAllocs];
        let huge = Backing { kind: Kind::Anon, order: 9 };
        let free = |s: &Session| s.machine().memory.free_in(ZoneKind::Movable);
        // Two of all pages; the locked ones stay what they are.
        for locked in [false, true] {
            let mut s = session(kernel);
            let a = s.map(huge, 512).unwrap();
            if locked {
                s.mlock(CPU, a, pages(0..512)).unwrap();
            }
            s.touch(CPU, a, pages(0..1)).unwrap();
            s.touch(CPU, a, pages(9..10)).unwrap();
            s.drain_all().unwrap();
            let before = free(&s);
            s.split(CPU, a, pages(0..512)).unwrap();
            let gone = zero && !locked;
            assert_eq!(free(&s) - before, if gone { 510 } else { 0 }, "{kernel}, locked: {locked}");
            sound(&s);
            let pin = s.pin(CPU, a, pages(0..512), true).unwrap();
            let wanted = if gone { [1024, 2, 510, 2] } else { [1024, 512, 0, 512] };
            assert_eq!(counts(&pin, events), wanted, "{kernel}, locked: {locked}");
            sound(&s);
        }
        // A migration that splits first has moved what it frees.
        let mut s = session(kernel);
        let a = s.map(huge, 512).unwrap();
        s.touch(CPU, a, pages(0..1)).unwrap();
        s.dontneed(CPU, a, pages(256..512)).unwrap();
        let pin = s.pin(CPU, a, pages(0..256), true).unwrap();
        assert_eq!(counts(&pin, events), [512, 512, if zero { 255 } else { 0 }, 1], "{kernel}");
        sound(&s);
    }
}

#[test]
fn what_was_stored_to_pages_that_are_given_up_is_not_of_those_that_come_after_them() {
    let mut s = session("linux-6.12.117");
    let a = s.map(Backing { kind: Kind::Anon, order: 9 }, 512).unwrap();
    s.touch(CPU, a, pages(0..512)).unwrap();
    s.dontneed(CPU, a, pages(0..512)).unwrap();
    s.touch(CPU, a, pages(70..71)).unwrap();
    s.drain_all().unwrap();
    let before = s.machine().memory.free_in(ZoneKind::Movable);
    s.split(CPU, a, pages(0..512)).unwrap();
    assert_eq!(s.machine().memory.free_in(ZoneKind::Movable) - before, 511);
    sound(&s);
}

#[test]
fn what_a_parent_has_stored_to_is_its_childs_too() {
    let mut s = session("linux-6.12.117");
    let a = s.map(Backing { kind: Kind::Anon, order: 9 }, 512).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    s.touch(CPU, a, pages(70..71)).unwrap();
    s.share(CPU, a, pages(0..512)).unwrap();
    s.drain_all().unwrap();
    s.split(CPU, a, pages(0..512)).unwrap();
    for (index, mapped) in [(0, 2), (70, 2)] {
        let page = s.machine().page(frame(&s, a, index));
        assert_eq!(page.folio_mapcount(), mapped, "page {index}");
    }
    sound(&s);
}

// ------------------------------------------------------------ exclusive pages

#[test]
fn a_recount_sees_a_page_that_is_exclusive_and_shared() {
    let mut s = session("linux-7.2.13");
    let a = touched(&mut s, Kind::Anon, 1);
    s.share(CPU, a, pages(0..1)).unwrap();
    sound(&s);
    s.machine().page(frame(&s, a, 0)).set(flag::ANON_EXCLUSIVE);
    let broken: Vec<&str> = s.recount().broken.iter().map(|broken| broken.invariant).collect();
    assert_eq!(broken, ["an exclusive page is mapped once"]);
}

#[test]
fn a_recount_sees_a_pinned_page_that_is_not_exclusive() {
    let large = Backing { kind: Kind::Anon, order: 4 };
    // Each page of a large folio has a pin of its own, or one has it for all.
    let pinned =
        [("linux-7.2.13", Backing::from(Kind::Anon)), ("linux-6.1.176", large), ("linux-7.2.13", large)];
    for (kernel, kind) in pinned {
        let mut s = session(kernel);
        let a = s.map(kind, 16).unwrap();
        s.touch(CPU, a, pages(0..16)).unwrap();
        s.pin(CPU, a, pages(0..16), false).unwrap().pin.unwrap();
        sound(&s);
        s.machine().page(frame(&s, a, 3)).clear(flag::ANON_EXCLUSIVE);
        let broken: Vec<&str> = s.recount().broken.iter().map(|broken| broken.invariant).collect();
        assert_eq!(broken, ["a pinned anonymous page is exclusive"]);
    }
}

#[test]
fn before_5_19_a_pin_for_reading_may_be_of_a_shared_page() {
    let mut s = session("linux-5.13");
    let a = touched(&mut s, Kind::Anon, 1);
    s.share(CPU, a, pages(0..1)).unwrap();
    assert!(s.pin(CPU, a, pages(0..1), false).unwrap().pin.is_some());
    sound(&s);
}

// ------------------------------------------------------------ reservations

/// What the pool has reserved, and as surplus.
fn reserved(s: &Session) -> (u32, u32) {
    let pool = s.machine().hugetlb_pool();
    (pool.reserved, pool.surplus)
}

#[test]
fn what_was_reserved_and_never_faulted_in_is_given_back() {
    let mut s = session("linux-7.2.13");
    s.hugepool(CPU, 4).unwrap();
    let a = s.map(Kind::Hugetlb, 1536).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert_eq!(reserved(&s), (2, 0));
    // Of private memory a part too.
    s.munmap(CPU, a, pages(1024..1536)).unwrap();
    assert_eq!(reserved(&s), (1, 0));
    s.unmap(CPU, a).unwrap();
    assert_eq!((reserved(&s), s.machine().hugetlb_pool().free), ((0, 0), 4));
    sound(&s);
    // Of a file all that nobody punched a hole for, until the file goes.
    let b = s.map(Kind::Hugeshm, 1536).unwrap();
    s.munmap(CPU, b, pages(0..512)).unwrap();
    assert_eq!(reserved(&s), (3, 0));
    s.remove(CPU, b, pages(512..1024)).unwrap();
    assert_eq!(reserved(&s), (2, 0));
    s.unmap(CPU, b).unwrap();
    assert_eq!(reserved(&s), (0, 0));
    sound(&s);
}

#[test]
fn a_page_that_was_given_up_takes_no_reservation_of_another_mapping() {
    let mut s = session("linux-7.2.13");
    s.hugepool(CPU, 2).unwrap();
    let a = s.map(Kind::Hugetlb, 512).unwrap();
    let b = s.map(Kind::Hugetlb, 512).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    s.dontneed(CPU, a, pages(0..512)).unwrap();
    s.touch(CPU, a, pages(0..1)).unwrap();
    assert_eq!(reserved(&s), (1, 0), "what is left is b's");
    s.touch(CPU, b, pages(0..1)).unwrap();
    assert_eq!(reserved(&s), (0, 0));
    sound(&s);
}

#[test]
fn surplus_pages_that_nobody_has_a_right_to_go_back_to_the_buddy_allocator() {
    let mut s = session("linux-7.2.13");
    s.machine().set_hugetlb_overcommit(2);
    let a = s.map(Kind::Hugetlb, 1024).unwrap();
    assert_eq!(reserved(&s), (2, 2));
    s.unmap(CPU, a).unwrap();
    let pool = s.machine().hugetlb_pool();
    assert_eq!((pool.total, pool.free, reserved(&s)), (0, 0, (0, 0)));
    sound(&s);
}

// ------------------------------------------------------------ pins that are lost

#[test]
fn on_6_11_a_pin_without_memory_for_its_array_of_folios_loses_its_pins() {
    for (kernel, pages, lost) in
        [("linux-6.11", 4608, 4608), ("linux-6.11", 4096, 0), ("linux-6.12.43", 4608, 0)]
    {
        let rules = load_kernel(Source::Preset(kernel), &[]).unwrap();
        let policy = load_policy(Source::Preset(&rules.policy), &[]).unwrap();
        let mut s = Session::new(rules, policy, &Layout { movable: 8192, ..LAYOUT }, 2);
        s.fragment(CPU).unwrap();
        let a = s.map(Kind::Anon, pages).unwrap();
        s.touch(CPU, a, PageIndex(0).run(pages)).unwrap();
        let pinned = s.pin(CPU, a, PageIndex(0).run(pages), true).unwrap();
        let [acquired, released] = counts(&pinned, [Event::Acquired, Event::Released]);
        let held = if pinned.pin.is_some() { u64::from(pages) } else { 0 };
        assert_eq!(acquired - released, held + lost, "{kernel}, {pages} pages");
        assert_eq!(s.machine().leaked().len() as u64, lost, "{kernel}, {pages} pages");
        if lost > 0 {
            assert_eq!((pinned.error, counts(&pinned, [Event::MigrateCalls])), (Some(Errno::ENOMEM), [0]));
        }
        // Lost is not broken: the references are there, and they are the kernel's own mistake.
        sound(&s);
    }
}
