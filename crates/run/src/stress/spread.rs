//! How values are spread: kept as they are while they are few.
//!
//! A histogram of nanoseconds has tens of kilobytes, and is added to another bucket by bucket,
//! whether there are three values in it or a million. Of thousands of pinners most end few calls.

use hdrhistogram::Histogram;

/// Values beyond which a histogram takes less than they do.
const FEW: usize = 512;

/// Values of one thread, or of several.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    few: Vec<u64>,
    many: Option<Histogram<u32>>,
}

fn histogram() -> Histogram<u32> {
    Histogram::new(3).expect("three digits are between zero and five")
}

/// Counts into a histogram, which grows as it must and refuses no value.
fn count(values: &[u64], into: &mut Histogram<u32>) {
    values.iter().for_each(|&value| {
        let _ = into.record(value);
    });
}

impl Spread {
    /// One more.
    pub fn record(&mut self, value: u64) {
        match &mut self.many {
            Some(many) => count(&[value], many),
            None if self.few.len() < FEW => self.few.push(value),
            None => {
                let many = self.many.insert(histogram());
                count(&std::mem::take(&mut self.few), many);
                count(&[value], many);
            }
        }
    }

    /// Another's on top.
    pub fn merge(&mut self, other: &Self) {
        other.few.iter().for_each(|&value| self.record(value));
        if let Some(theirs) = &other.many {
            let few = std::mem::take(&mut self.few);
            let many = self.many.get_or_insert_with(histogram);
            count(&few, many);
            let _ = many.add(theirs);
        }
    }

    /// All of them, to three digits.
    pub fn total(&self) -> Histogram<u32> {
        let mut all = self.many.clone().unwrap_or_else(histogram);
        count(&self.few, &mut all);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Spread {
        let mut spread = Spread::default();
        values.into_iter().for_each(|value| spread.record(value));
        spread
    }

    #[test]
    fn few_and_many_are_spread_as_all_of_them_in_one_histogram() {
        for (left, right) in [(3, 4), (3, 2000), (2000, 3), (2000, 2000), (0, 1), (FEW as u64, 1)] {
            let values = |n: u64, by: u64| (0..n).map(move |n| n * n * by + 1);
            let mut merged = of(values(left, 7));
            assert_eq!(merged.many.is_some(), left > FEW as u64, "a table only where it takes less");
            merged.merge(&of(values(right, 11)));
            let mut all = histogram();
            count(&values(left, 7).chain(values(right, 11)).collect::<Vec<_>>(), &mut all);
            assert_eq!(merged.total(), all, "{left} and {right}");
        }
        assert!(of([]).total().is_empty());
    }
}
