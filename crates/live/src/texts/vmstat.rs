//! `/proc/vmstat`: a name and a count a line.

use std::collections::BTreeMap;

/// Every count by name; a line that is none is skipped.
pub fn vmstat(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, count) = line.split_once(' ')?;
            Some((name, count.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_a_kernel_does_not_have_is_missing() {
        let counts = vmstat("nr_free_pages 103\nnr_foll_pin_acquired 8\nodd line here\npgmigrate_fail x\n\n");
        assert_eq!(counts.get("nr_foll_pin_acquired"), Some(&8));
        assert_eq!(counts.get("pgmigrate_fail"), None);
        assert_eq!(counts.get("pgmigrate_success"), None);
        assert_eq!(counts.len(), 2);
    }

    #[test]
    fn a_saved_text_of_6_12_is_read() {
        let text = include_str!("../../tests/texts/vmstat-6.12.117");
        let counts = vmstat(text);
        assert_eq!(counts.len(), text.lines().count());
        assert!(counts.contains_key("thp_migration_split"));
    }
}
