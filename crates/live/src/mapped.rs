//! Which keys of a profile are had by system calls, and which are refused by name.
//!
//! A key that says how the model's machine is made (its memory, costs, slices) says nothing
//! about a load: the real kernel has its own.

use gupstress_run::error::Problem;
use gupstress_run::stress::{Age, Populate, Profile, Role, Special};

/// What is asked for and cannot be had, each with the nearest that can.
pub fn refusals(profile: &Profile) -> Vec<Problem> {
    let (ranges, pinner) = (&profile.ranges, &profile.pinner);
    let keys = [
        (profile.hog, "hog", "true: nothing would be left for anyone else", "false"),
        (
            !matches!(ranges.special, Special::None | Special::Held),
            "ranges.special",
            "no system call makes such a page",
            "none or held",
        ),
        (ranges.pinnable, "ranges.pinnable", "true: where a fault puts a page is the kernel's", "false"),
        (!pinner.write, "pinner.write", "false: io_uring pins for writing only", "true"),
        (pinner.age == Age::Drain, "pinner.age", "drain: there is no call that drains one CPU alone", "none"),
    ];
    let mut problems: Vec<Problem> = keys
        .into_iter()
        .filter(|(is_asked, ..)| *is_asked)
        .map(|(_, key, why, near)| refusal(&profile.name, key, why, near))
        .collect();
    for (role, actor) in profile.actors() {
        let why = match role {
            Role::Churn | Role::Drainer | Role::Compaction | Role::ShortRefs => continue,
            Role::Reclaim => "reclaim is had by pressure alone",
            Role::Locker => "no system call holds a page lock",
            Role::Writeback => "memory without a disk has no writeback",
            Role::Offliner => "a block of this machine's memory would be gone",
            // By name, whichever roles there are by then.
            _ => "no system calls are known for it",
        };
        if actor.threads > 0 {
            let key = format!("{}.threads", role.name().replace(' ', "_"));
            problems.push(refusal(&profile.name, &key, &format!("{}: {why}", actor.threads), "0"));
        }
    }
    problems
}

fn refusal(profile: &str, key: &str, why: &str, near: &str) -> Problem {
    Problem::new(profile, format!("{key}: not on a real kernel: {why}; nearest: {near}"))
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
        refusals(&profile).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_load_of_system_calls_is_taken_and_others_are_refused_by_key() {
        for taken in ["same-range", "free-loop", "short-refs", "drain-storm"] {
            assert_eq!(refused(taken), [""; 0], "{taken}");
        }
        for (name, key) in [
            ("contended", "reclaim.threads: not on a real kernel"),
            ("contended", "offliner.threads"),
            ("writeback", "writeback.threads"),
            ("cma-driver", "ranges.special"),
            ("hwpoison", "ranges.special"),
            ("oom", "hog"),
        ] {
            let said = refused(name);
            assert!(said.iter().any(|line| line.contains(key) && line.contains("; nearest: ")), "{said:?}");
        }
        // None is refused without a reason: every preset either is, or runs.
        assert!(profile_names().iter().any(|name| refused(name).is_empty()));
    }
}
