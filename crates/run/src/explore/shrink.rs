//! Making a finding as small as it gets: fewer threads, pages, calls, actors; then fewer preemptions.
//!
//! Each smaller load is searched again, with few preemptions first, for the
//! same kind of finding. So the result is a local minimum: no single reduction
//! of its load, and no fewer preemptions, showed it within the budget.

use super::hunt::{Finding, Hunt, Search};
use super::load::{Size, cut};
use super::settings::{Settings, What};
use crate::error::Result;
use crate::stress::Profile;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Schedules of one search on the way.
const SCHEDULES: u64 = 20_000;
/// Most preemptions that a smaller load is searched with.
const PREEMPTIONS: u32 = 2;

/// How far shrinking got.
#[derive(Debug, Clone, Serialize)]
pub struct Shrunk {
    /// Loads and bounds that were tried.
    pub tried: u32,
    /// Whether no reduction was left that had not been tried.
    pub minimal: bool,
    /// Whether the time was up before.
    pub timed_out: bool,
}

/// The same load, each time with one thing less.
fn smaller(settings: &Settings) -> Vec<Settings> {
    let What::Profile { profile, calls } = &settings.load;
    let size = Size { threads: profile.threads, pages: profile.ranges.pages, calls: *calls };
    let mut sizes = Vec::new();
    for (key, least) in [(0, 1), (1, 1), (2, 1)] {
        let value = [size.threads, size.pages, size.calls][key];
        // The least first: most findings need no more.
        for less in [least, value / 2, value.saturating_sub(1)] {
            if less >= least && less < value {
                let mut smaller = [size.threads, size.pages, size.calls];
                smaller[key] = less;
                sizes.push(Size { threads: smaller[0], pages: smaller[1], calls: smaller[2] });
            }
        }
    }
    sizes.dedup();
    let with = |profile: Profile, calls| Settings {
        load: What::Profile { profile: Box::new(profile), calls },
        ..settings.clone()
    };
    let sized = sizes.into_iter().map(|size| with(cut(profile, size), size.calls));
    let actors = (0..8).filter_map(|group| {
        let mut quiet = (**profile).clone();
        let groups = [
            &mut quiet.churn,
            &mut quiet.drainers,
            &mut quiet.reclaim,
            &mut quiet.compaction,
            &mut quiet.short_refs,
            &mut quiet.lockers,
            &mut quiet.writeback,
            &mut quiet.offliner,
        ];
        let group = groups.into_iter().nth(group)?;
        (std::mem::take(&mut group.threads) != 0).then(|| with(quiet, *calls))
    });
    actors.chain(sized).collect()
}

/// Shrinks a finding of `hunt` for at most `budget`.
pub fn shrink(hunt: &Hunt, finding: Finding, budget: Duration) -> Result<(Settings, Finding, Shrunk)> {
    let began = Instant::now();
    let mut shrunk = Shrunk { tried: 0, minimal: false, timed_out: false };
    let (mut settings, mut finding) = (hunt.settings.clone(), finding);
    let mut search = |settings: &Settings, preemptions: u32| -> Result<Option<Finding>> {
        let left = budget.saturating_sub(began.elapsed());
        if left.is_zero() {
            shrunk.timed_out = true;
            return Ok(None);
        }
        shrunk.tried += 1;
        let smaller = Hunt {
            settings: settings.clone(),
            search: Search::Bounded { preemptions },
            schedules: Some(SCHEDULES),
            timeout: left,
            find: vec![finding.kind],
            keep_going: false,
            seed: hunt.seed,
            workers: hunt.workers,
        };
        let hunted = smaller.run(&mut |_| true)?;
        shrunk.timed_out |= hunted.stopped.is_some() && hunted.findings.is_empty();
        Ok(hunted.findings.into_iter().next())
    };
    let mut best: Option<Finding> = None;
    'smaller: loop {
        for candidate in smaller(&settings) {
            for preemptions in 0..=PREEMPTIONS {
                if let Some(found) = search(&candidate, preemptions)? {
                    (settings, best) = (candidate, Some(found));
                    continue 'smaller;
                }
            }
        }
        break;
    }
    // The load is as small as it gets; what it was found with first is least.
    let most = best.as_ref().map_or(finding.preemptions, |best| best.preemptions);
    for preemptions in 0..most {
        if let Some(found) = search(&settings, preemptions)? {
            best = Some(found);
            break;
        }
    }
    if let Some(best) = best {
        finding = best;
    }
    shrunk.minimal = !shrunk.timed_out;
    Ok((settings, finding, shrunk))
}
