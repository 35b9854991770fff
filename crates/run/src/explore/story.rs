//! An interleaving told: a column for each thread, in the kernel's terms.
//!
//! A line is one stretch of one thread, or the steps in it that others could
//! see: those after which a page's state differs, waits, and where another
//! thread goes on. The rest is folded. Beside each line stand the reference
//! count and the whereabouts of the page that it is about.

use super::file::File;
use super::runner::Runner;
use super::settings::Settings;
use super::subject::Kind;
use crate::drive::{Deed, Step, Wait};
use crate::error::Result;
use crate::machine::NO_FRAME;
use crate::machine::{Frame, PageState};
use crate::sync::Mutex;
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;

/// One line: what a task did, and what the page looked like then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who.
    pub task: usize,
    /// What.
    pub text: String,
    /// The page beside it, in a few words; empty where there is none.
    pub page: String,
    /// Steps folded before it.
    pub folded: u32,
}

/// A finding told.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// Heading: what was found, where.
    pub title: String,
    /// What the tasks are called, by number.
    pub tasks: Vec<String>,
    /// The lines, in order.
    pub lines: Vec<Line>,
    /// Who did what between which two steps, and what would have helped.
    pub end: String,
}

/// What a step is in the kernel.
fn kernel_word(step: Step) -> &'static str {
    match step {
        Step::Idle => "pin_user_pages",
        Step::Sweep => "__gup_longterm_locked: sweep",
        Step::GupFast => "gup_fast_pte_range: try_grab_folio",
        Step::GupWalk => "follow_page_pte",
        Step::Pinned => "range pinned",
        Step::CollectCheck => "folio_is_longterm_pinnable?",
        Step::CollectDrainLocal => "lru_add_drain",
        Step::CollectDrainAll => "lru_add_drain_all: done",
        Step::CollectIsolate => "folio_isolate_lru?",
        Step::CollectIsolated => "folio_isolate_lru: done",
        Step::Unpinned => "unpin_user_pages: range unpinned",
        Step::Backoff => "pause",
        Step::WaitTurn => "waits for its turn",
        Step::WaitOwner => "waits for the folio's return",
        Step::Fault => "handle_mm_fault",
        Step::FaultAlloc => "vma_alloc_folio",
        Step::FaultMapped => "set_pte: folio_add_lru",
        Step::FaultMutex => "hugetlb_fault: mutex",
        Step::Zap => "zap_present_ptes",
        Step::Mlock => "mlock_folio",
        Step::Queue => "folio_batch_add",
        Step::DrainGen => "lru_add_drain_all: generation",
        Step::DrainMutex => "lru_add_drain_all: mutex",
        Step::DrainQueued => "lru_add_drain_all: works queued",
        Step::DrainFlush => "flush_work",
        Step::Kworker => "lru_add_drain_per_cpu",
        Step::MigrateTarget => "migrate_pages: target",
        Step::MigrateLock => "migrate_pages: folio_trylock",
        Step::MigrateWriteback => "folio_wait_writeback",
        Step::MigrateUnmap => "try_to_migrate",
        Step::MigrateUnmapped => "try_to_migrate: done",
        Step::MigrateFreeze => "folio_ref_freeze?",
        Step::MigrateCopied => "folio_migrate_mapping: copied",
        Step::MigrateRemap => "remove_migration_ptes",
        Step::MigrateDone => "migrate_pages: folio done",
        Step::Putback => "putback_movable_pages",
        Step::MigrationEntry => "migration_entry_wait",
        Step::PageLock => "folio_lock",
        Step::Reclaim => "shrink_list: isolated",
        Step::Compact => "isolate_migratepages: isolated",
        Step::Offline => "offline_pages: isolated",
        Step::Hold => "holds",
    }
}

/// A page in a few words: its references, its flags that matter, where it is.
fn page_words(state: &PageState, bias: i32) -> String {
    let (pins, plain) = (state.refcount / bias, state.refcount % bias);
    let mut words = String::new();
    match (pins, plain) {
        (0, 0) if state.mapcount == 0 => words.push_str("free or frozen"),
        (0, plain) => _ = write!(words, "ref {plain}"),
        (pins, plain) => _ = write!(words, "ref {plain}+{pins}pin"),
    }
    if state.flags.contains(&"PG_locked") {
        words.push_str(" locked");
    }
    let batches: Vec<String> = state
        .batches
        .iter()
        .map(|(cpu, batch)| format!("{}/{cpu}", serde_json::json!(batch).as_str().unwrap_or("batch")))
        .collect();
    if !batches.is_empty() {
        _ = write!(words, " {}", batches.join(" "));
    } else if state.list.is_some() {
        words.push_str(" lru");
    } else if state.refcount > 0 && !state.flags.contains(&"PG_lru") {
        words.push_str(" isolated");
    }
    words
}

fn wait_words(on: Wait) -> String {
    format!("sleeps: {}", on.describe())
}

impl Story {
    /// Runs a file once more and tells it.
    pub fn of(place: &str, file: &File) -> Result<Self> {
        let settings = Settings::read(place, &file.settings)?;
        let mut runner = Runner::new(settings.subject()?);
        let bias = runner.subject.machine().rules.pin_bias as i32;
        let look = runner.subject.look();
        // The frame that was last in question, and what has been told.
        let told = Arc::new(Mutex::new((NO_FRAME, Vec::<Event>::new())));
        let (events, told_to) = (Arc::clone(&told), Arc::clone(&told));
        runner.lab().observe(Some(Arc::new(move |task, deed| {
            let frame = match deed {
                Deed::Step(_, frame)
                | Deed::Wait(Wait::PageLock(frame) | Wait::Writeback(frame) | Wait::Returned(frame)) => frame,
                _ => NO_FRAME,
            };
            // A step about no page is told beside the page that was last in question.
            let mut events = events.lock();
            let frame = if frame == NO_FRAME { events.0 } else { frame };
            events.0 = frame;
            drop(events);
            let state = (frame != NO_FRAME).then(|| look(frame));
            told_to.lock().1.push((task, deed, state));
        })));
        let replayed = file.replay_on(&mut runner);
        runner.lab().observe(None);
        let events = std::mem::take(&mut told.lock().1);
        let threads = runner.subject.threads();
        let hindrances: Vec<_> = (0..threads).map(|thread| runner.subject.hindrance(thread)).collect();
        let mut lines = fold(&events, bias);
        repeat(&mut lines);
        let title = format!(
            "{}: {} under policy {} on {}",
            file.kind.name(),
            settings.name(),
            settings.policy.name,
            settings.rules.name
        );
        let end = ending(file, &events, &replayed.outcome.threads, &hindrances);
        Ok(Self { title, tasks: file.tasks.clone(), lines, end })
    }
}

type Event = (usize, Deed, Option<PageState>);

/// The events that others could see, each as a line.
fn fold(events: &[Event], bias: i32) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut shown: Vec<(Frame, String)> = Vec::new();
    let mut folded = 0;
    for (at, (task, deed, state)) in events.iter().enumerate() {
        let page = state.as_ref().map(|state| (state.frame, page_words(state, bias)));
        let changed = page.as_ref().is_some_and(|page| !shown.contains(page));
        let last = events.get(at + 1).is_none_or(|(next, ..)| next != task);
        let text = match deed {
            Deed::Step(step, _) if changed || last || always(*step) => kernel_word(*step).to_owned(),
            Deed::Step(..) => {
                folded += 1;
                continue;
            }
            Deed::Wait(on) => wait_words(*on),
            Deed::Woken => continue,
            Deed::Call(pages) => format!("pins {pages} page{}", if *pages == 1 { "" } else { "s" }),
            Deed::Return(class) => format!("returns: {}", class.replace('_', " ")),
        };
        if let Some((frame, words)) = &page {
            shown.retain(|(known, _)| known != frame);
            shown.push((*frame, words.clone()));
        }
        let page = page.map(|(_, words)| words).unwrap_or_default();
        lines.push(Line { task: *task, text, page, folded: std::mem::take(&mut folded) });
    }
    lines
}

/// Says once what is done over and over, such as the passes of a migration.
fn repeat(lines: &mut Vec<Line>) {
    for period in 1..=4 {
        let mut at = 0;
        while at + 2 * period <= lines.len() {
            let same = |a: &Line, b: &Line| (a.task, &a.text, &a.page) == (b.task, &b.text, &b.page);
            let again = |times: usize| {
                let (from, to) = (at + times * period, at + (times + 1) * period);
                to <= lines.len() && (from..to).all(|n| same(&lines[n], &lines[n - period]))
            };
            let times = (1..lines.len()).take_while(|&times| again(times)).count();
            if times > 0 {
                let task = lines[at].task;
                lines.drain(at + period..at + (times + 1) * period);
                let what = if period == 1 { "this".into() } else { format!("these {period}") };
                let times = if times == 1 { "once".into() } else { format!("{times} times") };
                let text = format!("({what}, {times} more)");
                lines.insert(at + period, Line { task, text, page: String::new(), folded: 0 });
                at += period;
            }
            at += 1;
        }
    }
}

/// Whether a step is told whatever it changes.
fn always(step: Step) -> bool {
    matches!(step, Step::Sweep | Step::Pinned | Step::Unpinned | Step::MigrateFreeze)
}

/// One sentence: who did what between which two steps, and what would have helped.
fn ending(file: &File, events: &[Event], ended: &[Vec<String>], hindrances: &[Option<String>]) -> String {
    let found = &file.outcome.found;
    // Where a condition is met, it is what else there is to find that can be told.
    let kind = found.iter().copied().find(|_| file.kind == Kind::Outcome).unwrap_or(file.kind);
    let word = match kind {
        Kind::Unsafe => "pinned_unsafe",
        Kind::Spurious => "failed_spurious",
        Kind::Stuck => "stuck",
        Kind::Broken | Kind::Outcome => "",
    };
    let Some(victim) = ended.iter().position(|classes| classes.iter().any(|class| class == word)) else {
        let met = Some(file.outcome.conditions.join("; ")).filter(|met| !met.is_empty());
        return match file.outcome.broken.as_ref().or(met.as_ref()) {
            Some(found) => format!("In the end: {found}."),
            None => "In the end nothing was found.".to_owned(),
        };
    };
    let name = |task: usize| file.tasks[task].as_str();
    let returned = events
        .iter()
        .position(|(task, deed, _)| *task == victim && matches!(deed, Deed::Return(class) if *class == word))
        .unwrap_or(events.len());
    // An unsafe pin is decided where its collection came out empty.
    let collects = |(task, deed, _): &Event| {
        *task == victim && matches!(deed, Deed::Step(Step::CollectIsolated | Step::CollectCheck, _))
    };
    let over = match kind {
        Kind::Unsafe => events[..returned].iter().rposition(collects).unwrap_or(returned),
        _ => returned,
    };
    // Who else was within a call when it was decided, and between which two of his steps.
    let step_of = |task: usize, deed: &Deed, who: usize| match deed {
        Deed::Step(step, _) if task == who => Some(*step),
        _ => None,
    };
    let other = events[..over].iter().rev().find_map(|(task, deed, _)| {
        let is_other = *task != victim && !name(*task).starts_with("kworker");
        (is_other && matches!(deed, Deed::Step(..))).then_some(*task)
    });
    let between = other.map(|other| {
        let before = events[..over].iter().rev().find_map(|(task, deed, _)| step_of(*task, deed, other));
        let after = events[over..].iter().find_map(|(task, deed, _)| step_of(*task, deed, other));
        let after = after.map_or("the end".to_owned(), |step| format!("`{}`", kernel_word(step)));
        format!(
            "while {} stood between `{}` and {after}",
            name(other),
            kernel_word(before.unwrap_or(Step::Idle))
        )
    });
    let between = between.unwrap_or_else(|| "with nobody else about".into());
    let why = hindrances.get(victim).cloned().flatten();
    let why = why.map_or(String::new(), |why| format!(" (in its way: {why})"));
    match kind {
        Kind::Unsafe => format!(
            "{} took an empty collection for success {between}, and pinned a page that must stay movable{why}: \
             a policy would have had to sweep again until the page is back on the LRU or has moved.",
            name(victim)
        ),
        Kind::Spurious => format!(
            "{} gave up {between}{why}: no page had a permanent obstacle, and a policy would have had to wait \
             for the other to let go and try again.",
            name(victim)
        ),
        _ => format!(
            "{} never ends {between}{why}: a policy would have had to let go and wait, or give up.",
            name(victim)
        ),
    }
}
