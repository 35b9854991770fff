//! Which keys of a profile are had by system calls, and which are refused by name.
//!
//! A key that says how the model's machine is made (its memory, costs, slices) says nothing
//! about a load: the real kernel has its own.

use gupstress_run::config::Table as _;
use gupstress_run::error::Problem;
use gupstress_run::machine::DMA_ENTRY_LIMIT;
use gupstress_run::stress::{Age, Populate, Profile, Role, Special};

/// What is asked for and cannot be had, each with the nearest that can. `is_named` says whether
/// a key was asked for by its name: what takes memory away is done only then.
pub fn refusals(profile: &Profile, is_named: impl Fn(&str) -> bool) -> Vec<Problem> {
    let (ranges, pinner) = (&profile.ranges, &profile.pinner);
    let ranges_said = ranges.to_table();
    let special = ranges_said["special"].as_str().unwrap_or_default();
    let memlock = pinner.memlock.to_string();
    let (bystanders, score) = (profile.bystanders.count.to_string(), pinner.oom_score_adj.0.to_string());
    let (entries, most) = (pinner.dma_entries.to_string(), DMA_ENTRY_LIMIT.to_string());
    let keys = [
        (profile.hog, "hog", "true", "nothing would be left for anyone else", "false"),
        (
            !matches!(ranges.special, Special::None | Special::Held),
            "ranges.special",
            special,
            "no system call makes such a page",
            "none or held",
        ),
        (ranges.pinnable, "ranges.pinnable", "true", "where a fault puts a page is the kernel's", "false"),
        (!pinner.write, "pinner.write", "false", "io_uring pins for writing only", "true"),
        (
            profile.bystanders.count != 0,
            "bystanders.count",
            bystanders.as_str(),
            "whom this machine would kill is its own to say",
            "0",
        ),
        (
            pinner.oom_score_adj.0 != 0,
            "pinner.oom_score_adj",
            score.as_str(),
            "it is that of who runs this",
            "0",
        ),
        (
            pinner.memlock != 0,
            "pinner.memlock",
            memlock.as_str(),
            "the limit is that of who runs this, ulimit -l",
            "0",
        ),
        (
            pinner.dma_entries != DMA_ENTRY_LIMIT,
            "pinner.dma_entries",
            entries.as_str(),
            "the limit is the kernel's, and VFIO's alone",
            most.as_str(),
        ),
        (
            pinner.age == Age::Drain,
            "pinner.age",
            "drain",
            "there is no call that drains one CPU alone",
            "none",
        ),
    ];
    let mut problems: Vec<Problem> = keys
        .into_iter()
        .filter(|(is_asked, ..)| *is_asked)
        .map(|(_, key, value, why, near)| refusal(&profile.name, key, value, why, near))
        .collect();
    for (caller, share) in profile.callers.to_table() {
        if share.as_integer() != Some(0) && !CALLERS.contains(&caller.as_str()) {
            let why = match caller.as_str() {
                "vfio" => "pins of one container wait for each other; vfpin is for litmus",
                _ => "no system call pins so without a device",
            };
            problems.push(refusal(
                &profile.name,
                &format!("callers.{caller}"),
                &share.to_string(),
                why,
                "0, and io_uring or udmabuf",
            ));
        }
    }
    for (role, actor) in profile.actors() {
        let key = format!("{}.threads", role.name().replace(' ', "_"));
        let why = match role {
            Role::Churn
            | Role::Drainer
            | Role::Compaction
            | Role::ShortRefs
            | Role::Forker
            | Role::Contig => continue,
            Role::Offliner if is_named(&key) => continue,
            Role::Reclaim => "reclaim is had by pressure alone",
            Role::Locker => "no system call holds a page lock",
            Role::Writeback => "memory without a disk has no writeback",
            Role::Offliner => {
                "a block of this machine's memory would be gone, unless --set offliner.threads asks for it"
            }
        };
        if actor.threads > 0 {
            problems.push(refusal(&profile.name, &key, &actor.threads.to_string(), why, "0"));
        }
    }
    problems
}

/// Kinds of callers that there are system calls for.
const CALLERS: [&str; 2] = ["io_uring", "udmabuf"];

fn refusal(profile: &str, key: &str, value: &str, why: &str, near: &str) -> Problem {
    Problem::new(profile, format!("{key}: {value}: not on a real kernel: {why}; nearest: {near}"))
}

/// Whether pages come in by writing.
pub fn writes(profile: &Profile) -> bool {
    profile.ranges.populate == Populate::Write
}

#[cfg(test)]
mod tests {
    use super::*;
    use gupstress_run::policy::Source;
    use gupstress_run::stress::{load_profile, profile_names};

    fn refused(name: &str) -> Vec<String> {
        let profile = load_profile(Source::Preset(name), &[]).unwrap();
        refusals(&profile, |_| false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_load_of_system_calls_is_taken_and_others_are_refused_by_key() {
        for taken in ["same-range", "free-loop", "short-refs", "drain-storm", "contig", "udmabuf-race"] {
            assert_eq!(refused(taken), [""; 0], "{taken}");
        }
        for (name, key) in [
            ("contended", "reclaim.threads: 1: not on a real kernel"),
            ("contended", "offliner.threads: 1: not"),
            ("writeback", "writeback.threads"),
            ("cma-driver", "ranges.special: driver: not"),
            ("hwpoison", "ranges.special: hwpoison: not"),
            ("oom", "hog: true: not"),
            ("oom", "bystanders.count: "),
            ("fork-pin", "callers.gup-fast-ro: 1: not"),
            ("vfio-large", "callers.vfio: 1: not on a real kernel: pins of one container"),
        ] {
            let said = refused(name);
            assert!(said.iter().any(|line| line.contains(key) && line.contains("; nearest: ")), "{said:?}");
        }
        // Memory is taken away only if that was asked for in so many words.
        let offline = load_profile(Source::Preset("offline-victim"), &[]).unwrap();
        let named = |named: &'static str| refusals(&offline, |key| key == named);
        assert_eq!(named("offliner.threads"), []);
        assert!(named("contig.threads")[0].to_string().contains("unless --set offliner.threads"));
        for (key, said) in [
            (
                "pinner.memlock",
                "pinner.memlock: 64: not on a real kernel: the limit is that of who runs this",
            ),
            ("pinner.dma_entries", "pinner.dma_entries: 64: not on a real kernel: the limit is the kernel's"),
        ] {
            let limited = [(key.to_owned(), "64".to_owned())];
            let limited = load_profile(Source::Preset("same-range"), &limited).unwrap();
            let refused = refusals(&limited, |_| false);
            assert_eq!(refused.len(), 1);
            assert!(refused[0].to_string().contains(said), "{refused:?}");
        }
        // None is refused without a reason: every preset either is, or runs.
        assert!(profile_names().iter().any(|name| refused(name).is_empty()));
    }
}
