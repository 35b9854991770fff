//! The scenarios in `data/litmus`: most in a file of their own, many measured ones in one.

use crate::error::Result;
use crate::policy::{preset_text, presets};

const ALONE: &[(&str, &str)] = presets!("litmus":
    "anon-local" "anon-remote" "anon-fault-in-pin" "anon-on-lru-local"
    "anon-on-lru-remote" "shmem-local" "shmem-mlock-remote" "shmem-mlock-on-lru-remote"
    "anon-mlock-local" "anon-64-local" "anon-cold-remote" "anon-held-ref"
    "anon-zero-page" "anon-repin" "anon-batch-edge-27" "anon-three-cpus"
    "anon-half-pinned-before" "shmem-munlock-remote" "anon-partial-range" "anon-lazyfree-local"
    "race-drain-sweep" "race-drain-unsafe" "race-isolation" "race-contended" "race-short-refs"
    "race-lock" "race-writeback" "race-contig" "race-udmabuf");

/// Files of several scenarios: each begins with the line of its table, and has its name first.
const TOGETHER: &[(&str, &str)] = presets!("litmus": "folios");

/// Names and texts.
fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let texts = TOGETHER.iter().flat_map(|(_, text)| text.split("\n[[scenario]]\n").skip(1));
    let named = texts.map(|text| {
        let name = text.strip_prefix("name = \"").and_then(|rest| rest.split('"').next());
        (name.expect("a shipped scenario begins with its name"), text)
    });
    ALONE.iter().copied().chain(named)
}

/// The scenarios shipped with the crate.
pub fn litmus_names() -> Vec<&'static str> {
    all().map(|(name, _)| name).collect()
}

/// A shipped scenario as TOML.
///
/// # Errors
/// There is none of that name; which is nearest.
pub fn show_litmus(name: &str) -> Result<&'static str> {
    preset_text("", "litmus", &all().collect::<Vec<_>>(), name)
}
