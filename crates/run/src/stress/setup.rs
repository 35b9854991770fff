//! Before the pinners set off: faulting in the mappings and what stands in their way.

use super::bystanders;
use super::profile::{Populate, Special};
use super::shared::Shared;
use crate::drive::Driver;
use crate::machine::{CpuId, Mapping, PageIndex, PageRange};
use crate::ops::{Errno, Task};

/// Faults in pinner `id`'s share of the mappings, each on another CPU.
pub fn set_up<D: Driver>(sh: &Shared, task: &Task<'_, D>, id: usize) -> Result<(), Errno> {
    let ranges = &sh.profile.ranges;
    let count = sh.mappings.len();
    let mlocked = (count as f64 * ranges.mlocked.0).round() as usize;
    for number in (id..count).step_by(sh.profile.threads as usize) {
        task.move_to(CpuId::turn(number, sh.m.cpus.len()));
        let mapping = sh.m.mapping(sh.mappings[number]);
        let all = mapping.vma.pages();
        // Seven is prime to most counts: anonymous and shared mappings alike.
        if number * 7 % count < mlocked {
            task.mlock(mapping, all.clone())?;
        }
        for index in PageIndex(0).run(ranges.special_pages) {
            place_special(sh, task, mapping, index)?;
        }
        // Nobody touches what is poisoned and lives.
        let poisoned = if ranges.special == Special::Hwpoison { ranges.special_pages } else { 0 };
        let rest = PageIndex(poisoned).to(all.end);
        if ranges.pinnable {
            task.touch_pinnable(mapping, rest)?;
        } else {
            populate(sh, task, mapping, rest)?;
        }
    }
    if id == 0 {
        bystanders::populate(sh, task)?;
    }
    task.move_to(CpuId::turn(id, sh.m.cpus.len()));
    Ok(())
}

/// Brings pages into a range as the profile says.
pub fn populate<D: Driver>(
    sh: &Shared,
    task: &Task<'_, D>,
    mapping: &Mapping,
    range: PageRange,
) -> Result<(), Errno> {
    match sh.profile.ranges.populate {
        Populate::Write => task.touch(mapping, range),
        Populate::Read => task.read(mapping, range),
    }
}

fn place_special<D: Driver>(
    sh: &Shared,
    task: &Task<'_, D>,
    mapping: &Mapping,
    index: PageIndex,
) -> Result<(), Errno> {
    let (frame, references, listed) = match sh.profile.ranges.special {
        Special::None => return Ok(()),
        Special::Driver => (task.map_unlisted(mapping, index, true)?, 0, false),
        Special::Reserved => (task.map_unlisted(mapping, index, false)?, 0, false),
        Special::Hwpoison => (task.memory_failure(mapping, index, false)?, 1, false),
        Special::HwpoisonMapped => (task.memory_failure(mapping, index, true)?, 1, true),
        Special::Pinned => {
            let frame = task.pin_in_place(mapping, index)?;
            (frame, sh.m.pin_refs(frame), true)
        }
        Special::Held => {
            // A page of its own: the zero page would be replaced by the first write.
            task.touch(mapping, index.run(1))?;
            (task.hold(mapping, index.run(1), false)?[0], 1, true)
        }
    };
    let mut special = sh.special.lock();
    *special.held.entry(frame).or_default() += references;
    if !listed {
        special.never_on_lru.push(frame);
    }
    Ok(())
}
