//! Which keys of a profile are had by system calls, and which are refused by name.
//!
//! A key that says how the model's machine is made (its memory, costs, slices) says nothing
//! about a load: the real kernel has its own.

use gupstress_run::config::Table as _;
use gupstress_run::error::Problem;
use gupstress_run::stress::{Age, Populate, Profile, Role, Special};

/// What is asked for and cannot be had, each with the nearest that can. `is_named` says whether
/// a key was asked for by its name: what takes memory away is done only then.
pub fn refusals(profile: &Profile, is_named: impl Fn(&str) -> bool) -> Vec<Problem> {
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
        (
            profile.bystanders.count != 0,
            "bystanders.count",
            "more than 0: whom this machine would kill is its own to say",
            "0",
        ),
        (pinner.oom_score_adj.0 != 0, "pinner.oom_score_adj", "not 0: it is that of who runs this", "0"),
        (pinner.memlock != 0, "pinner.memlock", "not 0: the limit is that of who runs this, ulimit -l", "0"),
        (pinner.age == Age::Drain, "pinner.age", "drain: there is no call that drains one CPU alone", "none"),
    ];
    let mut problems: Vec<Problem> = keys
        .into_iter()
        .filter(|(is_asked, ..)| *is_asked)
        .map(|(_, key, why, near)| refusal(&profile.name, key, why, near))
        .collect();
    for (caller, share) in profile.callers.to_table() {
        if share.as_integer() != Some(0) && !CALLERS.contains(&caller.as_str()) {
            let why = "no system call pins so without a device";
            problems.push(refusal(&profile.name, &format!("callers.{caller}"), why, "io_uring"));
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
            problems.push(refusal(&profile.name, &key, &format!("{}: {why}", actor.threads), "0"));
        }
    }
    problems
}

/// Kinds of callers that there are system calls for.
const CALLERS: [&str; 2] = ["io_uring", "udmabuf"];

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
        refusals(&profile, |_| false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_load_of_system_calls_is_taken_and_others_are_refused_by_key() {
        for taken in ["same-range", "free-loop", "short-refs", "drain-storm", "contig", "udmabuf-race"] {
            assert_eq!(refused(taken), [""; 0], "{taken}");
        }
        for (name, key) in [
            ("contended", "reclaim.threads: not on a real kernel"),
            ("contended", "offliner.threads"),
            ("writeback", "writeback.threads"),
            ("cma-driver", "ranges.special"),
            ("hwpoison", "ranges.special"),
            ("oom", "hog"),
            ("oom", "bystanders.count"),
            ("fork-pin", "callers.gup-fast-ro"),
        ] {
            let said = refused(name);
            assert!(said.iter().any(|line| line.contains(key) && line.contains("; nearest: ")), "{said:?}");
        }
        // Memory is taken away only if that was asked for in so many words.
        let offline = load_profile(Source::Preset("offline-victim"), &[]).unwrap();
        let named = |named: &'static str| refusals(&offline, |key| key == named);
        assert_eq!(named("offliner.threads"), []);
        assert!(named("contig.threads")[0].to_string().contains("unless --set offliner.threads"));
        let limited = [("pinner.memlock".to_owned(), "64".to_owned())];
        let limited = load_profile(Source::Preset("same-range"), &limited).unwrap();
        assert!(refusals(&limited, |_| false)[0].to_string().contains("ulimit -l; nearest: 0"));
        // None is refused without a reason: every preset either is, or runs.
        assert!(profile_names().iter().any(|name| refused(name).is_empty()));
    }
}
