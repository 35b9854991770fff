//! `kprobe_profile` of tracefs: how often each kprobe event was hit, and missed.

use std::collections::BTreeMap;

/// What one probe has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hits {
    /// Times that it was reached.
    pub hit: u64,
    /// Times that it was reached where no probe may run: hits that are not counted.
    pub missed: u64,
}

/// By event; a line that is none is skipped.
pub fn kprobe_profile(text: &str) -> BTreeMap<&str, Hits> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (event, hit, missed) = (words.next()?, words.next()?, words.next()?);
            Some((event, Hits { hit: hit.parse().ok()?, missed: missed.parse().ok()? }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_and_misses_are_told_apart() {
        let text = "  gup_1_drain_all                                        3               0\n\
                    \x20 gup_1_isolate_calls                                 18446               2\nodd\n";
        let hits = kprobe_profile(text);
        assert_eq!(hits["gup_1_drain_all"], Hits { hit: 3, missed: 0 });
        assert_eq!(hits["gup_1_isolate_calls"], Hits { hit: 18446, missed: 2 });
        assert_eq!(hits.len(), 2);
    }
}
