//! The search: smallest change first.

use super::candidate::{Candidate, Change};
use super::{Cell, plain};
use crate::litmus::Limits;
use serde::Serialize;
use toml::Value;

/// What explains every cell.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Rules and policy.
    pub candidate: Candidate,
    /// Named rule sets that are the same in all but name.
    pub same_rules: Vec<String>,
}

/// A key that some cell decides.
#[derive(Debug, Clone, Serialize)]
pub struct Decided {
    /// `kernel` or `policy`.
    pub table: &'static str,
    /// The key.
    pub axis: String,
    /// A cell that turns red when it is changed, and how.
    pub by: String,
}

/// A key whose values the cells cannot tell apart.
#[derive(Debug, Clone, Serialize)]
pub struct Undecided {
    /// `kernel` or `policy`.
    pub table: &'static str,
    /// The key.
    pub axis: String,
    /// The values that all explain every cell, the explanation's own first.
    pub values: Vec<String>,
}

/// A cell that what comes nearest does not explain.
#[derive(Debug, Clone, Serialize)]
pub struct Nearest {
    /// The scenario.
    pub cell: String,
    /// What differs there.
    pub differences: Vec<String>,
    /// Whether anything that was tried explains this cell alone.
    pub alone: bool,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Fit {
    /// All that explain every cell with the fewest changes, the likeliest first.
    pub explanations: Vec<Explanation>,
    /// Of the likeliest: the keys that some cell decides.
    pub decided: Vec<Decided>,
    /// And those that none does.
    pub undecided: Vec<Undecided>,
    /// Where nothing explains all: what comes nearest, and what it does not explain.
    pub nearest: Option<(Candidate, Vec<Nearest>)>,
    /// Rule sets and policies tried.
    pub tried: u64,
    /// Whether the search was told to stop before its end.
    pub stopped: bool,
}

/// Nearest named ones that are tried with changes.
const BASES: usize = 4;

struct Search<'c> {
    cells: &'c [Cell],
    /// Cells in the order in which they are tried: those that said no last come first.
    order: Vec<usize>,
    limits: &'c Limits,
    tried: u64,
}

/// Searches for what explains every cell.
pub fn fit(cells: &[Cell], limits: &Limits) -> Fit {
    let mut search = Search { cells, order: (0..cells.len()).collect(), limits, tried: 0 };
    let named = Candidate::named();
    let mut found: Vec<Candidate> = named.iter().filter(|one| search.explains(one)).cloned().collect();
    let mut nearest = None;
    if found.is_empty() && !search.stopped() {
        let mut bases: Vec<(Candidate, Vec<usize>)> =
            named.into_iter().map(|one| search.missed(&one)).collect();
        bases.sort_by_cached_key(|(one, missed)| (missed.len(), !one.is_own_policy()));
        found = search.changed(&bases[..BASES.min(bases.len())]);
        if found.is_empty() {
            nearest = Some(search.nearest(&bases));
        }
    }
    found.sort_by_key(|one| !one.is_own_policy());
    let explain = |candidate: Candidate| Explanation { same_rules: candidate.same_rules(), candidate };
    let (mut decided, mut undecided) = (Vec::new(), Vec::new());
    if let Some(likeliest) = found.first() {
        search.decide(likeliest, &mut decided, &mut undecided);
        let others = &found[1..];
        tell_apart(likeliest, others, &mut decided, &mut undecided);
    }
    Fit {
        explanations: found.into_iter().map(explain).collect(),
        decided,
        undecided,
        nearest,
        tried: search.tried,
        stopped: search.stopped(),
    }
}

/// A key in which explanations differ is not decided, whatever changing it alone would do.
fn tell_apart(
    likeliest: &Candidate,
    others: &[Candidate],
    decided: &mut Vec<Decided>,
    undecided: &mut Vec<Undecided>,
) {
    for (table, axis) in Candidate::keys() {
        let Some(own) = likeliest.value(table, &axis) else { continue };
        for other in others.iter().filter_map(|other| other.value(table, &axis)).filter(|value| *value != own)
        {
            decided.retain(|key| (key.table, &key.axis) != (table, &axis));
            let known = undecided.iter_mut().find(|key| (key.table, &key.axis) == (table, &axis));
            let (own, other) = (plain(&own), plain(&other));
            match known {
                Some(known) if known.values.contains(&other) => {}
                Some(known) => known.values.push(other),
                None => {
                    undecided.push(Undecided { table, axis: axis.clone(), values: vec![own, other] });
                }
            }
        }
    }
}

impl Search<'_> {
    fn stopped(&self) -> bool {
        !(self.limits.go_on)()
    }

    /// Whether a candidate counts the same in every cell; the first that says no ends it.
    fn explains(&mut self, candidate: &Candidate) -> bool {
        self.red(candidate).is_none()
    }

    /// The first cell that says no, and what it says.
    fn red(&mut self, candidate: &Candidate) -> Option<(usize, Vec<String>)> {
        self.tried += 1;
        for at in 0..self.order.len() {
            if self.stopped() {
                return Some((self.order[at], vec!["stopped".to_owned()]));
            }
            let cell = self.order[at];
            let differences = self.cells[cell].differences(candidate, self.limits);
            if !differences.is_empty() {
                // What says no to one most likely says no to the next.
                let cell = self.order.remove(at);
                self.order.insert(0, cell);
                return Some((cell, differences));
            }
        }
        None
    }

    /// A candidate with every cell that says no.
    fn missed(&mut self, candidate: &Candidate) -> (Candidate, Vec<usize>) {
        self.tried += 1;
        let no = |cell: &usize| {
            self.stopped() || !self.cells[*cell].differences(candidate, self.limits).is_empty()
        };
        (candidate.clone(), (0..self.cells.len()).filter(no).collect())
    }

    /// What explains all with one key of a base changed, or else with two.
    fn changed(&mut self, bases: &[(Candidate, Vec<usize>)]) -> Vec<Candidate> {
        let mut found = Vec::new();
        let mut helpful: Vec<(Candidate, Vec<usize>, Vec<Change>)> = Vec::new();
        for (base, missed) in bases {
            let mut helps = Vec::new();
            for change in base.changes() {
                let Some(changed) = base.with(&change) else { continue };
                // It must put right what the base misses, some of it at least.
                let right = |cell: &&usize| self.cells[**cell].differences(&changed, self.limits).is_empty();
                let righted = missed.iter().filter(right).count();
                if righted == missed.len() && self.explains(&changed) {
                    found.push(changed);
                } else if righted > 0 {
                    helps.push(change);
                }
                if self.stopped() {
                    return found;
                }
            }
            helpful.push((base.clone(), missed.clone(), helps));
        }
        if !found.is_empty() {
            return found;
        }
        for (base, missed, helps) in &helpful {
            for (at, one) in helps.iter().enumerate() {
                let Some(first) = base.with(one) else { continue };
                // The other may matter only beside the one.
                let others = first.changes().into_iter().filter(|other| !helps[..=at].contains(other));
                for other in others.filter(|other| (other.table, &other.axis) != (one.table, &one.axis)) {
                    let Some(both) = first.with(&other) else { continue };
                    let right = |cell: &usize| self.cells[*cell].differences(&both, self.limits).is_empty();
                    if missed.iter().all(right) && self.explains(&both) {
                        found.push(both);
                    }
                    if self.stopped() {
                        return found;
                    }
                }
            }
        }
        found
    }

    /// What comes nearest, and for each cell that it misses whether anything explains that alone.
    fn nearest(&mut self, bases: &[(Candidate, Vec<usize>)]) -> (Candidate, Vec<Nearest>) {
        let (best, missed) = bases[0].clone();
        let cells = missed.into_iter().map(|number| {
            let cell = &self.cells[number];
            let explained = |one: &Candidate| cell.differences(one, self.limits).is_empty();
            let changed = best.changes().into_iter().filter_map(|change| best.with(&change));
            Nearest {
                cell: cell.scenario.name.clone(),
                differences: cell.differences(&best, self.limits),
                alone: bases.iter().any(|(_, missed)| !missed.contains(&number))
                    || changed.into_iter().any(|one| explained(&one)),
            }
        });
        let cells = cells.collect();
        (best, cells)
    }

    /// Tries every key of what explains all by itself.
    fn decide(&mut self, found: &Candidate, decided: &mut Vec<Decided>, undecided: &mut Vec<Undecided>) {
        let mut same: Vec<(Change, Option<String>)> = Vec::new();
        for change in found.changes() {
            let Some(changed) = found.with(&change) else { continue };
            let by = self.red(&changed).map(|(cell, differences)| {
                format!("{}: {}", self.cells[cell].scenario.name, differences.join(", "))
            });
            same.push((change, by));
        }
        while let Some((first, _)) = same.first() {
            let (table, axis) = (first.table, first.axis.clone());
            let (of_it, rest): (Vec<_>, Vec<_>) =
                same.into_iter().partition(|(change, _)| (change.table, &change.axis) == (table, &axis));
            same = rest;
            let free: Vec<&Value> =
                of_it.iter().filter(|(_, by)| by.is_none()).map(|(change, _)| &change.value).collect();
            if free.is_empty() {
                let by = of_it.into_iter().find_map(|(_, by)| by).unwrap_or_default();
                decided.push(Decided { table, axis, by });
            } else {
                let own = found.value(table, &axis);
                let values = own.iter().chain(free).map(plain).collect();
                undecided.push(Undecided { table, axis, values });
            }
        }
    }
}
