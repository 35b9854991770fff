//! Conditions on the numbers of a result: `[POLICY:]METRIC OP NUMBER`, the number with `%` for a share.
//!
//! Which metrics there are is the caller's to say: paths into a result, `calls.stuck`.
//! The last part of a path may stand alone where only one path ends in it, or one in `share`:
//! what is asked of calls in general is asked of a share of them.

use crate::config::nearest;
use gupstress_machine::words;

words! {
    /// How a number is compared with a bound; the longer of two that begin alike first.
    pub enum Op {
        /// At least.
        Ge = ">=",
        /// At most.
        Le = "<=",
        /// Equal.
        Eq = "==",
        /// Not equal.
        Ne = "!=",
        /// Above.
        Gt = ">",
        /// Below.
        Lt = "<",
    }
}

impl Op {
    /// As it is written.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }

    /// Whether `observed` is as wanted.
    #[expect(clippy::float_cmp, reason = "who writes `==` means it: counts are exact")]
    pub fn holds(self, observed: f64, bound: f64) -> bool {
        match self {
            Self::Ge => observed >= bound,
            Self::Le => observed <= bound,
            Self::Eq => observed == bound,
            Self::Ne => observed != bound,
            Self::Gt => observed > bound,
            Self::Lt => observed < bound,
        }
    }

    /// Whether a number that only grows has missed the bound for good.
    pub fn is_lost(self, observed: f64, bound: f64) -> bool {
        match self {
            Self::Le | Self::Lt => !self.holds(observed, bound),
            Self::Eq => observed > bound,
            Self::Ge | Self::Gt | Self::Ne => false,
        }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// The only policy that it is for; none: all.
    pub policy: Option<String>,
    /// Full path of what is compared.
    pub metric: String,
    /// How.
    pub op: Op,
    /// With what.
    pub bound: f64,
}

/// The part of a result whose numbers are shares of its calls.
const SHARE: &str = "share.";

impl Threshold {
    /// Reads a condition on one of some metrics, for one of some policies if these are known.
    ///
    /// # Errors
    /// Why it is none, in one line with the nearest that is.
    pub fn parse(expr: &str, metrics: &[String], policies: Option<&[String]>) -> Result<Self, String> {
        let (policy, metric, op, bound) =
            split(expr).ok_or("not of the form [POLICY:]METRIC OP NUMBER; nearest: latency_ns.p99<2e6")?;
        if let (Some(policy), Some(policies)) = (policy, policies)
            && !policies.iter().any(|known| known == policy)
        {
            let near = nearest(policy, policies.iter().map(String::as_str)).unwrap_or_default();
            return Err(format!("no policy {policy:?} in this run; nearest: {near}"));
        }
        let (number, percent) = match bound.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (bound, false),
        };
        let number: f64 = number
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| format!("{bound:?} is not a finite number; nearest: 2e6"))?;
        let metric = find(metric, metrics)?;
        let is_share = metric.starts_with(SHARE);
        let short = metric.rsplit('.').next().unwrap_or_default();
        let word = op.word();
        if percent && !is_share {
            let share = format!("{SHARE}{short}");
            let near = if metrics.contains(&share) { share } else { format!("{SHARE}failed_spurious") };
            return Err(format!("{metric} is no share of calls; nearest: {near}{word}{bound}"));
        }
        let value = if percent { number / 100.0 } else { number };
        if is_share && !(0.0..=1.0).contains(&value) {
            let near = if percent { 100.0 } else { number };
            let count = format!("calls.{short}");
            let or =
                if metrics.contains(&count) { format!(" or {count}{word}{bound}") } else { String::new() };
            return Err(format!(
                "{bound} is no share of calls, which is from 0 to 1, or to 100 %; nearest: {metric}{word}{}%{or}",
                near.clamp(0.0, 100.0),
            ));
        }
        Ok(Self { policy: policy.map(str::to_owned), metric, op, bound: value })
    }
}

/// The parts of a condition, if it is one.
fn split(expr: &str) -> Option<(Option<&str>, &str, Op, &str)> {
    let at = expr.find(['<', '>', '=', '!'])?;
    let (left, right) = expr.split_at(at);
    let (word, op) = *Op::WORDS.iter().find(|(word, _)| right.starts_with(word))?;
    let (policy, metric) = match left.rsplit_once(':') {
        Some((policy, metric)) => (Some(policy.trim()), metric.trim()),
        None => (None, left.trim()),
    };
    let bound = right[word.len()..].trim();
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
    let named = policy.is_none_or(|policy| !policy.is_empty());
    let whole = !bound.is_empty() && !bound.trim_end_matches('%').trim_end().contains(char::is_whitespace);
    (plain(metric) && named && whole).then_some((policy, metric, op, bound))
}

/// The path that a metric's name stands for.
fn find(name: &str, metrics: &[String]) -> Result<String, String> {
    if metrics.iter().any(|metric| metric == name) {
        return Ok(name.to_owned());
    }
    let tail = |metric: &str| metric.rsplit('.').next() == Some(name);
    let paths: Vec<&String> = metrics.iter().filter(|metric| tail(metric)).collect();
    let shares: Vec<&&String> = paths.iter().filter(|metric| metric.starts_with(SHARE)).collect();
    match (&paths[..], &shares[..]) {
        ([only], _) => Ok((*only).clone()),
        (_, [share]) => Ok((**share).clone()),
        ([], _) => {
            let near = nearest(name, metrics.iter().map(String::as_str)).unwrap_or_default();
            Err(format!("no metric {name:?}; nearest: {near}"))
        }
        (several, _) => {
            let all: Vec<&str> = several.iter().map(|path| path.as_str()).collect();
            Err(format!("{name:?} may be {}; nearest: {}", all.join(" or "), all[0]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Vec<String> {
        ["calls.stuck", "calls.failed_spurious", "share.stuck", "share.failed_spurious", "latency_ns.p99"]
            .into_iter()
            .chain(["sweeps.p99", "drains_per_call", "throughput.pages_per_s", "calls.issued"])
            .map(str::to_owned)
            .collect()
    }

    fn parse(expr: &str) -> Result<Threshold, String> {
        let policies = ["bounded".to_owned(), "a:b".to_owned()];
        Threshold::parse(expr, &metrics(), Some(&policies))
    }

    #[test]
    fn a_condition_is_read_part_by_part() {
        for (expr, policy, metric, op, bound) in [
            ("calls.stuck==0", None, "calls.stuck", Op::Eq, 0.0),
            (" bounded : latency_ns.p99 < 2e6 ", Some("bounded"), "latency_ns.p99", Op::Lt, 2e6),
            ("a:b:pages_per_s>=1", Some("a:b"), "throughput.pages_per_s", Op::Ge, 1.0),
            ("failed_spurious<5%", None, "share.failed_spurious", Op::Lt, 0.05),
            ("failed_spurious==0", None, "share.failed_spurious", Op::Eq, 0.0),
            ("share.stuck != 0.5", None, "share.stuck", Op::Ne, 0.5),
            ("share.stuck<=100 %", None, "share.stuck", Op::Le, 1.0),
            ("drains_per_call>1.5", None, "drains_per_call", Op::Gt, 1.5),
        ] {
            let found = parse(expr).unwrap();
            let wanted = Threshold { policy: policy.map(str::to_owned), metric: metric.into(), op, bound };
            assert_eq!(found, wanted, "{expr}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_nearest_that_is() {
        for (expr, wanted) in [
            ("calls.stuck", "nearest: latency_ns.p99<2e6"),
            ("calls.stuck=0", "nearest: latency_ns.p99<2e6"),
            (":calls.stuck==0", "nearest: latency_ns.p99<2e6"),
            ("calls.stuck==0 0", "nearest: latency_ns.p99<2e6"),
            ("bounde:calls.stuck==0", "nearest: bounded"),
            ("calls.stuk==0", "nearest: calls.stuck"),
            ("p99<1", "nearest: latency_ns.p99"),
            ("calls.stuck==nan", "nearest: 2e6"),
            ("calls.failed_spurious<5%", "nearest: share.failed_spurious<5%"),
            ("latency_ns.p99<5%", "nearest: share.failed_spurious<5%"),
            ("failed_spurious<5", "nearest: share.failed_spurious<5% or calls.failed_spurious<5"),
            ("failed_spurious<105%", "nearest: share.failed_spurious<100%"),
        ] {
            let said = parse(expr).unwrap_err();
            assert!(said.contains(wanted), "{expr}: {said}");
        }
    }

    #[test]
    fn only_an_upper_bound_is_lost_before_the_end() {
        for (op, observed, lost) in [
            (Op::Lt, 5.0, true),
            (Op::Le, 5.0, false),
            (Op::Le, 5.1, true),
            (Op::Eq, 4.0, false),
            (Op::Eq, 6.0, true),
            (Op::Ne, 5.0, false),
            (Op::Ge, 4.0, false),
            (Op::Gt, 5.0, false),
        ] {
            assert_eq!(op.is_lost(observed, 5.0), lost, "{op:?} {observed}");
        }
    }
}
