//! Conditions that end a run as soon as nothing can mend them.
//!
//! Of each number it is known how small and how large it can still become; a condition is lost
//! once none of what is between would meet it. Looked at by the watchdog, on the run's own clock:
//! a simulation ends where it always does.

use super::shared::Shared;
use crate::error::{Error, Result};
use crate::judge::{Calls, Class};
use crate::sync::Ordering;
use serde::Deserialize;

/// A number of a run that is known while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Metric {
    #[serde(rename = "calls.issued")]
    Issued,
    #[serde(rename = "pages.pinned")]
    Pages,
    #[serde(untagged)]
    Ending(Ending),
}

/// Calls that end so, or their share of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Ending {
    class: Class,
    share: bool,
}

impl TryFrom<String> for Ending {
    type Error = String;

    fn try_from(path: String) -> std::result::Result<Self, String> {
        let found = path.split_once('.').and_then(|(of, ending)| {
            let (_, class) = Class::WORDS.iter().find(|(word, _)| *word == ending)?;
            let share = match of {
                "calls" => false,
                "share" => true,
                _ => return None,
            };
            Some(Self { class: *class, share })
        });
        found.ok_or_else(|| format!("nothing that ends a run: {path}"))
    }
}

/// How a number is held against its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Compare {
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "==")]
    Exactly,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = ">")]
    Above,
}

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Condition(Metric, Compare, f64);

/// How far a run is.
#[derive(Debug, Clone, Copy)]
struct Sofar {
    calls: Calls,
    pages: u64,
    /// The most calls that may end in all, if those to come pin.
    most: u64,
}

impl Sofar {
    fn of(sh: &Shared) -> Self {
        let mut classes = [0; Class::COUNT];
        for slot in sh.pinners() {
            classes.iter_mut().zip(slot.classes()).for_each(|(sum, n)| *sum += n);
        }
        let (calls, pages) = (Calls::of(classes), sh.pinned.load(Ordering::Relaxed));
        // Each thread may be in a call that ends beyond the goal.
        let threads = u64::from(sh.profile.threads);
        let smallest = u64::from(sh.profile.pinner.pages_min);
        let pins = sh.goal.saturating_sub(pages).div_ceil(smallest);
        let left = match u64::from(sh.profile.calls) {
            0 => pins,
            limit => pins.min(limit.saturating_sub(calls.issued)),
        };
        Self { calls, pages, most: calls.issued.saturating_add(left).saturating_add(threads) }
    }
}

impl Condition {
    /// Reads conditions: JSON of `[metric, comparison, bound]` each.
    ///
    /// # Errors
    /// [`Error::Internal`] for what is none: whoever asks knows which there are.
    pub fn read(text: &str) -> Result<Vec<Self>> {
        serde_json::from_str(text).map_err(|error| Error::Internal(format!("malformed condition: {error}")))
    }

    /// Whether nothing that may still happen meets it.
    fn is_lost(self, now: Sofar) -> bool {
        let Self(metric, compare, bound) = self;
        let (least, most) = match metric {
            Metric::Issued => (now.calls.issued as f64, f64::INFINITY),
            Metric::Pages => (now.pages as f64, f64::INFINITY),
            Metric::Ending(Ending { class, share: false }) => (now.calls.get(class) as f64, f64::INFINITY),
            Metric::Ending(Ending { class, share: true }) => {
                let n = now.calls.get(class);
                let share = |part: u64| part as f64 / now.most.max(1) as f64;
                (share(n), share(now.most - (now.calls.issued - n)))
            }
        };
        match compare {
            Compare::Below => least >= bound,
            Compare::AtMost => least > bound,
            Compare::Exactly => least > bound || most < bound,
            Compare::AtLeast => most < bound,
            Compare::Above => most <= bound,
        }
    }

    /// Whether any of them is lost in a run.
    pub(super) fn any_lost(conditions: &[Self], sh: &Shared) -> bool {
        !conditions.is_empty() && {
            let now = Sofar::of(sh);
            conditions.iter().any(|condition| condition.is_lost(now))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(condition: &str, pinned: u64, spurious: u64, most: u64) -> bool {
        let calls = Calls::of([pinned, 0, 0, spurious, 0, 0]);
        let now = Sofar { calls, pages: pinned * 4, most };
        Condition::read(&format!("[{condition}]")).unwrap()[0].is_lost(now)
    }

    #[test]
    fn a_count_is_lost_above_its_bound() {
        let of = |condition: &str| lost(condition, 5, 2, 100);
        assert!(of(r#"["calls.failed_spurious", "==", 0]"#));
        assert!(of(r#"["calls.failed_spurious", "<", 2]"#));
        assert!(!of(r#"["calls.failed_spurious", "<=", 2]"#));
        assert!(!of(r#"["calls.stuck", "==", 0]"#));
        assert!(of(r#"["calls.issued", "<=", 6]"#));
        assert!(of(r#"["pages.pinned", "<", 20]"#));
        assert!(!of(r#"["calls.pinned", ">=", 1000000]"#), "it may come to that");
    }

    #[test]
    fn a_share_is_lost_where_the_calls_to_come_cannot_mend_it() {
        let under = r#"["share.failed_spurious", "<", 0.05]"#;
        assert!(!lost(under, 0, 4, 100), "96 that pin make it 4 %");
        assert!(lost(under, 0, 5, 100));
        assert!(!lost(under, 0, 5, 101));
        let over = r#"["share.pinned", ">=", 0.9]"#;
        assert!(!lost(over, 0, 10, 100));
        assert!(lost(over, 0, 11, 100));
        let none = r#"["share.stuck", "==", 0]"#;
        assert!(!lost(none, 3, 3, 6));
    }

    #[test]
    fn what_is_not_known_before_the_end_is_no_condition() {
        for bad in ["latency_ns.p99", "share.issued", "calls.nothing", "share.contended"] {
            let error = Condition::read(&format!(r#"[["{bad}", "<", 1]]"#)).unwrap_err();
            assert!(matches!(error, Error::Internal(_)), "{bad}");
        }
    }
}
