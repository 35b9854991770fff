//! Making a finding as small as it gets: fewer threads, pages, calls, actors or steps; then fewer
//! preemptions, and later ones.
//!
//! Each smaller load is searched again, with few preemptions first, for the
//! same kind of finding. So the result is a local minimum: no single reduction
//! of its load, and no fewer preemptions, showed it within the budget. A bounded
//! search turns the last choice first, so what it finds first preempts late.

use super::hunt::{Finding, Hunt, Search};
use super::load::{Size, cut};
use super::settings::{Settings, What};
use super::subject::Kind;
use crate::error::Result;
use crate::litmus::Scenario;
use crate::script::{Condition, Stmt};
use crate::stress::Profile;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Schedules of one search on the way.
const SCHEDULES: u64 = 4000;
/// Most preemptions that a smaller load is searched with.
const PREEMPTIONS: u32 = 2;

/// Most that it is searched with once it is as small as it gets.
const MOST_PREEMPTIONS: u32 = 8;

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
    let with = |load| Settings { load, ..settings.clone() };
    match &settings.load {
        What::Profile { profile, calls } => smaller_profiles(profile, *calls).into_iter().map(with).collect(),
        What::Scenario(scenario) => {
            smaller_scenarios(scenario).map(|scenario| with(What::Scenario(Arc::new(scenario)))).collect()
        }
    }
}

fn smaller_profiles(profile: &Profile, calls: u32) -> Vec<What> {
    let size = Size { threads: profile.threads, pages: profile.ranges.pages, calls };
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
    let with = |profile: Profile, calls| What::Profile { profile: Box::new(profile), calls };
    let sized = sizes.into_iter().map(|size| with(cut(profile, size), size.calls));
    let actors = (0..profile.actors().len()).filter_map(|group| {
        let mut quiet = profile.clone();
        (std::mem::take(&mut quiet.actors_mut()[group].threads) != 0).then(|| with(quiet, calls))
    });
    actors.chain(sized).collect()
}

/// A thread less, then a step less; those that are no scenario any more are left out.
fn smaller_scenarios(scenario: &Scenario) -> impl Iterator<Item = Scenario> {
    let threads = (0..scenario.program.threads.len()).filter(|_| scenario.program.threads.len() > 1);
    let fewer = threads.map(|number| {
        let mut less = scenario.clone();
        let gone = less.program.threads.remove(number);
        less.exists.retain(|condition| !condition.mentions(&gone.name));
        less.forbid.retain(|condition| !condition.mentions(&gone.name));
        less
    });
    let lists = scenario.program.threads.len() + 2;
    let shorter = (0..lists).flat_map(move |list| {
        let steps = steps_of(&mut scenario.clone(), list).len();
        (0..steps).rev().map(move |step| {
            let mut less = scenario.clone();
            steps_of(&mut less, list).remove(step);
            less
        })
    });
    // Read again, as a file would be: what does not fit together is refused.
    let read = |less: Scenario| Scenario::parse(&less.name, &less.write()).ok();
    let all: Vec<Scenario> = fewer.chain(shorter).filter_map(read).collect();
    all.into_iter()
}

/// The steps of a thread; after those of the last one what comes last, then what comes first.
fn steps_of(scenario: &mut Scenario, list: usize) -> &mut Vec<Stmt> {
    let program = &mut scenario.program;
    let threads = program.threads.len();
    match list {
        thread if thread < threads => &mut program.threads[thread].steps,
        list if list == threads => &mut program.after,
        _ => &mut program.steps,
    }
}

/// What is to be found again: of conditions that were met, the first alone.
fn wanted(settings: &Settings, finding: &Finding) -> Settings {
    let What::Scenario(scenario) = &settings.load else { return settings.clone() };
    if finding.kind != Kind::Outcome {
        return settings.clone();
    }
    let met = |condition: &Condition| finding.outcome.conditions.first() == Some(&condition.to_string());
    let mut one = (**scenario).clone();
    one.exists.retain(met);
    one.forbid.retain(met);
    Settings { load: What::Scenario(Arc::new(one)), ..settings.clone() }
}

/// Shrinks a finding of `hunt` for at most `budget`.
pub fn shrink(hunt: &Hunt, finding: Finding, budget: Duration) -> Result<(Settings, Finding, Shrunk)> {
    let began = Instant::now();
    let mut shrunk = Shrunk { tried: 0, minimal: false, timed_out: false };
    let (mut settings, mut finding) = (wanted(&hunt.settings, &finding), finding);
    let mut again = |settings: &Settings, search: Search, seed: u64| -> Result<Option<Finding>> {
        let left = budget.saturating_sub(began.elapsed());
        if left.is_zero() {
            shrunk.timed_out = true;
            return Ok(None);
        }
        shrunk.tried += 1;
        let smaller = Hunt {
            settings: settings.clone(),
            search,
            yield_every: hunt.yield_every,
            schedules: Some(SCHEDULES),
            timeout: left,
            find: vec![finding.kind],
            keep_going: false,
            // What is drawn in a run, such as who pins which page, stays as it was.
            seed,
            workers: hunt.workers,
        };
        let hunted = smaller.run(&mut |_| true)?;
        shrunk.timed_out |= hunted.stopped.is_some() && hunted.findings.is_empty();
        Ok(hunted.findings.into_iter().next())
    };
    let bounded = |preemptions| Search::Bounded { preemptions };
    // What few preemptions do not show, the search that found it may.
    let drawn = Some(hunt.search).filter(|search| !matches!(search, Search::Bounded { .. }));
    let searches: Vec<Search> = (0..=PREEMPTIONS).map(bounded).chain(drawn).collect();
    let mut best: Option<Finding> = None;
    'smaller: loop {
        for candidate in smaller(&settings) {
            for &search in &searches {
                let seed = best.as_ref().unwrap_or(&finding).seed;
                if let Some(found) = again(&candidate, search, seed)? {
                    (settings, best) = (candidate, Some(found));
                    continue 'smaller;
                }
            }
        }
        break;
    }
    // The load is as small as it gets; what it was found with first is least.
    let (most, seed) =
        best.as_ref().map_or((finding.preemptions, finding.seed), |best| (best.preemptions, best.seed));
    for preemptions in 0..most.min(MOST_PREEMPTIONS) {
        if let Some(found) = again(&settings, bounded(preemptions), seed)? {
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
