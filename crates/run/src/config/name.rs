//! What things that users make may be called.

/// Letters of the longest name.
const LONGEST: usize = 80;

/// What a name may have beside letters and digits of any script: nothing that a terminal, Markdown,
/// XML, a shell or a threshold (`POLICY:METRIC<1`) takes for more than itself.
const OTHERS: &str = " ._+-=,()@";

/// Checks a name that a user gave; `Err` says why it is none, and what is nearest.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_alphanumeric() || OTHERS.contains(c);
    let trimmed = name.trim();
    if !name.is_empty() && name == trimmed && name.chars().all(fits) && name.chars().count() <= LONGEST {
        return Ok(());
    }
    let near: String = trimmed.chars().map(|c| if fits(c) { c } else { '-' }).take(LONGEST).collect();
    let near = if near.is_empty() { "mine" } else { near.trim_end() };
    let few: String = name.chars().take(LONGEST).collect();
    Err(format!("{few:?} is not up to {LONGEST} letters, digits and any of \"{OTHERS}\"; nearest: {near}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_names() {
        for name in ["bounded", "linux-7.2.13", "my policy (v2)", "größer", "a=1,b=2", &"x".repeat(80)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_acts_on_who_shows_it_is_no_name() {
        for (name, near) in [
            ("", "mine"),
            (" a", "a"),
            ("\u{1b}[31mred", "--31mred"),
            ("a\nb", "a-b"),
            ("a|b", "a-b"),
            ("::error::x", "--error--x"),
            ("<b>", "-b-"),
            ("`x`", "-x-"),
            ("a\u{202e}b", "a-b"),
            ("$(x)", "-(x)"),
        ] {
            let refusal = check_name(name).expect_err(name);
            assert!(refusal.ends_with(&format!("; nearest: {near}")), "{refusal}");
            assert_eq!(check_name(near), Ok(()), "{near}");
        }
        assert!(check_name(&"x".repeat(81)).is_err());
    }
}
