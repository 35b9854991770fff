//! What somebody who wrote something else most likely meant.

/// The name among `names` that `wanted` was most likely meant to be: the same in other
/// letters, or else one that contains it, or else the one most like it.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let contained = !wanted.is_empty() && name.contains(&wanted);
        // A path is often meant by its last part.
        let last = name.rsplit('.').next().unwrap_or(&name);
        let alike = [&*name, last].map(|name| strsim::jaro_winkler(&wanted, name));
        f64::from(contained) + alike[0].max(alike[1])
    };
    names.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The number that a word most likely means: `1e6`, `2k`, `1M`, `1,000`, `5%`.
pub fn number(word: &str) -> Option<f64> {
    let plain: String = word.trim().chars().filter(|c| !matches!(c, ',' | '_')).collect();
    let (digits, factor) = match plain.char_indices().last()? {
        (at, 'k' | 'K') => (&plain[..at], 1e3),
        (at, 'm' | 'M') => (&plain[..at], 1e6),
        (at, 'g' | 'G') => (&plain[..at], 1e9),
        (at, '%') => (&plain[..at], 1e-2),
        _ => (plain.as_str(), 1.0),
    };
    digits.parse().ok().map(|number: f64| number * factor).filter(|number| !number.is_nan())
}

/// The length of time that a word most likely means, in nanoseconds: `60` is 60 s.
pub fn length(word: &str) -> Option<u64> {
    let word = word.trim();
    let digits = word.trim_end_matches(char::is_alphabetic);
    let unit = &word[digits.len()..];
    let factor = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => 1e9,
    };
    let number: f64 = digits.trim().parse().ok()?;
    Some((number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_contains_what_was_typed_is_nearest() {
        let kernels = ["linux-5.13", "linux-6.12.43", "linux-7.2.13"];
        assert_eq!(nearest("7.2.13", kernels), Some("linux-7.2.13"));
        assert_eq!(nearest("Linux-5.13", kernels), Some("linux-5.13"));
        assert_eq!(nearest("OS", ["sim", "os"]), Some("os"));
        assert_eq!(nearest("bound", ["unbounded", "bounded"]), Some("bounded"));
        assert_eq!(nearest("bonded", ["unbounded", "bounded", "none"]), Some("bounded"));
        assert_eq!(nearest("page_per_s", ["latency_ns.p99", "rates.pages_per_s"]), Some("rates.pages_per_s"));
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn numbers_in_other_notations_are_understood() {
        for (word, meant) in
            [("1e6", 1e6), ("2k", 2e3), ("1M", 1e6), ("1,000", 1e3), ("50%", 0.5), ("-1", -1.0)]
        {
            assert_eq!(number(word), Some(meant), "{word}");
        }
        for word in ["", "many", "nan", "k"] {
            assert_eq!(number(word), None, "{word}");
        }
    }

    #[test]
    fn lengths_of_time_in_other_notations_are_understood() {
        for (word, meant) in
            [("60", 60_000_000_000), ("0.5ms", 500_000), ("1e3s", 1_000_000_000_000), ("-5s", 0)]
        {
            assert_eq!(length(word), Some(meant), "{word}");
        }
        assert_eq!(length("soon"), None);
    }
}
