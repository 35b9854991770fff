//! The presets in `data/`, and files in their form.

use super::{Policy, Rules};
use crate::config::{Document, Table, check_name, nearest, set_key, to_toml};
use crate::error::{Error, Problem, Result};

macro_rules! presets {
    ($dir:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/", $dir, "/", $name, ".toml")))),*]
    };
}
#[cfg_attr(loom, allow(unused_imports))]
pub(crate) use presets;

/// The rule set that is meant where none is named, and the base of those that name none.
pub const DEFAULT_KERNEL: &str = "linux-7.2.13";

const POLICIES: &[(&str, &str)] = presets!("policies":
    "none" "unbounded" "bounded" "isolate-bounded" "ignore" "linux-5.13" "linux-6.14" "linux-6.17"
    "linux-7.2" "linux-7.2-unpinned-drain" "backoff" "classify" "cooperative" "look" "look-ticket"
    "busted-never-drains" "busted-accept" "busted-leak-pin" "busted-lose-page" "busted-hold-lock"
    "busted-wait-cycle");

const KERNELS: &[(&str, &str)] = presets!("kernels":
    "linux-5.10" "linux-5.13" "linux-6.1.176" "linux-6.1.192" "linux-6.6" "linux-6.11" "linux-6.12.43" "linux-6.12.57" "linux-6.12.117"
    "linux-6.14" "linux-6.16.3" "linux-6.16.12" "linux-6.17" "linux-6.17.13" "linux-6.18.15"
    "linux-7.0.13" "linux-7.1.13"
    "linux-7.2.13" "linux-7.3.4");

/// Where a table comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A preset by name.
    Preset(&'a str),
    /// A file: its path, for messages, and its text.
    File(&'a str, &'a str),
}

/// Reads a table from a preset or file.
///
/// `base` names the preset that gives the keys which a file leaves out, or
/// `default_base` for a file that names none, or else `blank`. `sets` are `--set` words, applied last.
pub(crate) fn load<T: Table + Clone>(
    kind: &str,
    presets: &[(&str, &str)],
    default_base: Option<&str>,
    blank: &T,
    source: Source<'_>,
    sets: &[(String, String)],
) -> Result<T> {
    let mut table = read(kind, presets, default_base, blank, source, 0)?;
    let mut problems = Vec::new();
    for (path, word) in sets {
        let value = toml::Value::String(word.clone());
        if let Err(problem) = set_key(&mut table, path, &value, "--set") {
            problems.push(problem);
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(Error::Config(problems)) }
}

fn read<T: Table + Clone>(
    kind: &str,
    presets: &[(&str, &str)],
    default_base: Option<&str>,
    blank: &T,
    source: Source<'_>,
    depth: usize,
) -> Result<T> {
    let (name, text, is_file) = match source {
        Source::Preset(name) => (name, preset_text("", kind, presets, name)?, false),
        Source::File(path, text) => (path, text, true),
    };
    if depth > 8 {
        return Err(Error::config(name, "base leads back to itself"));
    }
    let mut document = Document::parse(name, text).map_err(Error::Config)?;
    let mut problems = Vec::new();
    let base = match document.take("base") {
        Some((value, place)) => {
            let base = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match preset_text(&place, kind, presets, &base) {
                Ok(_) => Some(base),
                // What else is wrong with the file is said too.
                Err(error) => {
                    problems.extend(error.problems());
                    None
                }
            }
        }
        None => default_base.filter(|_| is_file).map(str::to_owned),
    };
    let mut table = match base {
        Some(base) if base != name => {
            read(kind, presets, default_base, blank, Source::Preset(&base), depth + 1)?
        }
        _ => blank.clone(),
    };
    if is_file && !document.keys.iter().any(|(path, ..)| path == "name") {
        let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".toml");
        document.keys.push(("name".into(), toml::Value::from(stem), name.to_owned()));
    }
    for (path, value, place) in &document.keys {
        if let ("name", Some(name)) = (path.as_str(), value.as_str())
            && let Err(reason) = check_name(name)
        {
            problems.push(Problem::new(place, format!("name: {reason}")));
        }
    }
    document.apply(&mut table, &mut problems);
    if problems.is_empty() { Ok(table) } else { Err(Error::Config(problems)) }
}

/// The text of a preset; `place` is where its name stands.
pub(crate) fn preset_text<'a>(
    place: &str,
    kind: &str,
    presets: &[(&str, &'a str)],
    name: &str,
) -> Result<&'a str> {
    presets.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| {
        let near = nearest(name, presets.iter().map(|(known, _)| *known)).unwrap_or_default();
        Error::config(place, format!("no {kind} {name:?}; nearest: {near}"))
    })
}

pub(crate) fn names(presets: &[(&'static str, &str)]) -> Vec<&'static str> {
    presets.iter().map(|(name, _)| *name).collect()
}

/// The policy presets, in the order in which they are listed.
pub fn policy_names() -> Vec<&'static str> {
    names(POLICIES)
}

/// The kernel rule sets, oldest first.
pub fn kernel_names() -> Vec<&'static str> {
    names(KERNELS)
}

/// Reads a policy. `kernel` as a name stands for the rule set's own and is
/// resolved by the caller.
pub fn load_policy(source: Source<'_>, sets: &[(String, String)]) -> Result<Policy> {
    let policy = load("policy", POLICIES, Some("linux-7.2"), &Policy::blank(), source, sets)?;
    if policy.backoff_max < policy.backoff_min {
        return Err(Error::config(
            "",
            format!(
                "policy {}: backoff_max is below backoff_min; nearest: backoff_max = backoff_min",
                policy.name
            ),
        ));
    }
    Ok(policy)
}

/// Reads a kernel rule set.
pub fn load_kernel(source: Source<'_>, sets: &[(String, String)]) -> Result<Rules> {
    load("kernel", KERNELS, Some(DEFAULT_KERNEL), &Rules::blank(), source, sets)
}

/// A policy as the TOML text that [`load_policy`] takes back.
pub fn show_policy(policy: &Policy) -> String {
    to_toml(policy)
}

/// A rule set as the TOML text that [`load_kernel`] takes back.
pub fn show_kernel(rules: &Rules) -> String {
    to_toml(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_read_back_from_what_it_shows() {
        for name in policy_names() {
            let policy = load_policy(Source::Preset(name), &[]).unwrap();
            assert_eq!(policy.name, name);
            let text = show_policy(&policy);
            assert_eq!(load_policy(Source::File("x.toml", &text), &[]).unwrap(), policy, "{text}");
        }
        for name in kernel_names() {
            let rules = load_kernel(Source::Preset(name), &[]).unwrap();
            assert_eq!(rules.name, name);
            assert!(policy_names().contains(&rules.policy.as_str()), "{name}: {}", rules.policy);
            let text = show_kernel(&rules);
            assert_eq!(load_kernel(Source::File("x.toml", &text), &[]).unwrap(), rules, "{text}");
        }
    }

    #[test]
    fn two_mistakes_are_both_named_with_their_lines() {
        let text = "base = \"bounded\"\nisolate_retris = 3\ndrain = \"al\"\n";
        let Err(Error::Config(problems)) = load_policy(Source::File("p.toml", text), &[]) else {
            panic!("accepted {text}");
        };
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("p.toml:2: ") && lines[0].contains("isolate_retries"));
        assert!(lines[1].starts_with("p.toml:3: ") && lines[1].contains("nearest: all"));
    }

    #[test]
    fn set_words_reach_every_key_and_refuse_bad_values() {
        let set = |path: &str, word: &str| {
            load_policy(Source::Preset("bounded"), &[(path.to_owned(), word.to_owned())])
        };
        assert!(set("isolate_retries", "unlimited").is_ok());
        assert!(set("isolate_retries", "7").is_ok());
        let error = set("isolate_retries", "many").unwrap_err().to_string();
        assert!(error.contains("isolate_retries") && error.contains("many"), "{error}");
        assert!(set("backoff_min", "1s").is_err(), "a minimum above the maximum");
    }
}
