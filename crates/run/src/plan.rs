//! A request, read once: every name looked up, every default filled in, ready to be run as often as asked.

use crate::error::{Error, Problem, Result};
use crate::observe::Traced;
use crate::policy::{DEFAULT_KERNEL, Policy, Rules, Source, load_kernel, load_policy};
use crate::request::{Ref, driver, keep, policy, read, run_axes, sort_sets};
use crate::stress::{Job, MOST_CPUS, MOST_THREADS, Needs, Profile, Which, load_profile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// What a front end asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    policies: Vec<Ref>,
    profile: Ref,
    kernel: Ref,
    sets: Vec<(String, String)>,
    driver: String,
    threads: Option<u32>,
    cpus: Option<u32>,
    pins: Option<u64>,
    perturb: Option<f64>,
    trace_last: Option<u32>,
    timeout_s: f64,
    wall_timeout_s: f64,
    stall_after_s: f64,
    seed: u64,
}

/// A request that can be run: each of its policies, any number of times.
#[derive(Debug, Clone)]
pub struct Plan {
    policies: Vec<Policy>,
    profile: Profile,
    rules: Rules,
    driver: Which,
    pins: u64,
    timeout: Duration,
    wall_timeout: Duration,
    stall_after: Duration,
    seed: u64,
    trace: Option<u32>,
    /// Keys of the profile that were set by themselves.
    named: Vec<String>,
}

/// What is left on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Threads that can still be started.
    pub threads: u64,
    /// Bytes that can still be used.
    pub memory_bytes: u64,
}

impl Plan {
    /// Reads a request, JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once; [`Error::Internal`] for what is no request.
    pub fn read(text: &str) -> Result<Self> {
        let asked: Asked = read(text)?;
        let mut problems = Vec::new();
        let sets = sort_sets(&asked.sets, &run_axes(), &mut problems);
        let rules = keep(load_kernel(asked.kernel.source(), &sets.kernel), &mut problems);
        let driver = keep(driver(&asked.driver), &mut problems);
        // Without a kernel there is one problem already; any rule set will do to find more.
        let any = load_kernel(Source::Preset(DEFAULT_KERNEL), &[])?;
        let mut policies = Vec::new();
        for reference in &asked.policies {
            let rules = rules.as_ref().unwrap_or(&any);
            policies.extend(keep(policy(reference, rules, &sets.policy), &mut problems));
        }
        if policies.is_empty() {
            // `--set` is worth a word even where no policy could be read.
            keep(load_policy(Source::Preset("none"), &sets.policy), &mut problems);
        }
        let profile = keep(asked.profile(&sets.profile), &mut problems);
        if let (Some(profile), Some(rules)) = (&profile, &rules)
            && let Err(reason) = profile.check_on(rules)
        {
            problems.push(Problem::new(profile.name.clone(), reason));
        }
        let timeout = keep(length("--timeout", asked.timeout_s), &mut problems);
        let wall_timeout = keep(length("--wall-timeout", asked.wall_timeout_s), &mut problems);
        let stall_after = keep(length("--stall-after", asked.stall_after_s), &mut problems);
        match (rules, driver, profile, timeout, wall_timeout, stall_after) {
            (
                Some(rules),
                Some(driver),
                Some(profile),
                Some(timeout),
                Some(wall_timeout),
                Some(stall_after),
            ) if problems.is_empty() => Ok(Self {
                pins: asked.pins.unwrap_or(u64::from(profile.pins)),
                policies,
                profile,
                rules,
                driver,
                timeout,
                wall_timeout,
                stall_after,
                seed: asked.seed,
                trace: asked.trace_last,
                named: sets.profile.into_iter().map(|(key, _)| key).collect(),
            }),
            _ => Err(Error::Config(problems)),
        }
    }

    /// The tables of policies, profile and kernel with every key, and what a run needs of the host; JSON.
    pub fn describe(&self) -> String {
        #[derive(Serialize)]
        struct Said<'p> {
            policies: &'p [Policy],
            profile: &'p Profile,
            kernel: &'p Rules,
            needs: Needs,
            pins: u64,
        }
        let Self { policies, profile, rules: kernel, pins, .. } = self;
        json!(Said { policies, profile, kernel, needs: self.needs(profile.threads), pins: *pins }).to_string()
    }

    /// What a run with so many pinning threads needs of the host.
    pub fn needs(&self, threads: u32) -> Needs {
        let mut needs = self.profile.needs(threads);
        let traced = u64::from(self.trace.unwrap_or(0)).saturating_mul(size_of::<Traced>() as u64);
        needs.memory_bytes =
            needs.memory_bytes.saturating_add(u64::from(needs.os_threads).saturating_mul(traced));
        if self.driver == Which::Sim {
            needs.os_threads = 1;
        }
        needs
    }

    /// The most pinning threads, up to those asked for, that fit into what is left; 0: not even one.
    pub fn most_threads(&self, room: Room) -> u32 {
        let fits = |threads| {
            let needs = self.needs(threads);
            u64::from(needs.os_threads) <= room.threads && needs.memory_bytes <= room.memory_bytes
        };
        // More threads never need less.
        let (mut most, mut too_many) = (0, self.profile.threads + 1);
        while too_many - most > 1 {
            let middle = most + (too_many - most) / 2;
            if fits(middle) { most = middle } else { too_many = middle }
        }
        most
    }

    /// One run: a policy, by its place among those asked for, and which repeat, from 1.
    ///
    /// # Panics
    /// Where there are fewer policies.
    pub fn job(&self, policy: usize, repeat: u64) -> Job {
        Job {
            policy: self.policies[policy].clone(),
            rules: self.rules.clone(),
            profile: self.profile.clone(),
            driver: self.driver,
            pins: self.pins,
            timeout: self.timeout,
            wall_timeout: self.wall_timeout,
            stall_after: self.stall_after,
            seed: self.seed.wrapping_add(repeat.saturating_sub(1)),
            trace: self.trace,
            abort_on: Vec::new(),
        }
    }

    /// Whether a key of the profile was set by itself.
    pub fn is_set(&self, key: &str) -> bool {
        self.named.iter().any(|named| named == key)
    }

    /// How many policies there are.
    pub fn policies(&self) -> usize {
        self.policies.len()
    }
}

impl Asked {
    /// The profile with what was asked for in its place.
    fn profile(&self, sets: &[(String, String)]) -> Result<Profile> {
        let mut profile = load_profile(self.profile.source(), sets)?;
        let mut problems = Vec::new();
        let mut positive = |option: &str, value: Option<u32>, into: &mut u32, most: u32| match value {
            Some(n) if (1..=most).contains(&n) => *into = n,
            Some(n) => problems.push(Problem::new(
                option,
                format!("{n} is not from 1 to {most}; nearest: {}", n.clamp(1, most)),
            )),
            None => {}
        };
        positive("--threads", self.threads, &mut profile.threads, MOST_THREADS);
        positive("--cpus", self.cpus, &mut profile.cpus, MOST_CPUS);
        if self.pins == Some(0) {
            problems.push(Problem::new("--pins", "0 is not from 1 up; nearest: 1"));
        }
        if let Some(perturb) = self.perturb {
            if (0.0..=1.0).contains(&perturb) {
                profile.perturb = crate::config::Share(perturb);
            } else {
                let near = perturb.clamp(0.0, 1.0);
                problems.push(Problem::new(
                    "--perturb",
                    format!("{perturb} is not from 0 to 1; nearest: {near}"),
                ));
            }
        }
        if problems.is_empty() { Ok(profile) } else { Err(Error::Config(problems)) }
    }
}

fn length(option: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|length| !length.is_zero())
        .ok_or_else(|| Error::config(option, format!("{seconds} is not a length of time above 0")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn asked(change: impl FnOnce(&mut Value)) -> Result<Plan> {
        let mut request = json!({
            "policies": [{"name": "bounded"}, {"name": "kernel"}],
            "profile": {"name": "steady"},
            "kernel": {"name": "linux-6.14"},
            "sets": [], "driver": "os", "threads": 7, "cpus": null, "pins": null, "perturb": 0.25,
            "trace_last": null, "timeout_s": 3.0, "wall_timeout_s": 60.0, "stall_after_s": 1.0, "seed": u64::MAX,
        });
        change(&mut request);
        Plan::read(&request.to_string())
    }

    #[test]
    fn a_job_is_what_was_asked_for() {
        let plan = asked(|_| ()).unwrap();
        assert_eq!(plan.policies(), 2);
        let job = plan.job(1, 3);
        assert_eq!((job.policy.name.as_str(), job.rules.name.as_str()), ("linux-6.14", "linux-6.14"));
        assert_eq!((job.profile.threads, job.profile.perturb.0), (7, 0.25));
        assert_eq!((job.seed, job.timeout), (1, Duration::from_secs(3)));
        assert_eq!(plan.job(0, 1).seed, u64::MAX);
        let said: Value = serde_json::from_str(&plan.describe()).unwrap();
        assert_eq!(said["profile"]["perturb"], 0.25);
        assert_eq!(said["needs"]["threads"], 7);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let error = asked(|request| {
            request["policies"][0] = json!({"name": "bouned"});
            request["threads"] = json!(0);
            request["timeout_s"] = json!(-1.0);
            request["sets"] = json!([["isolate_retry", "3"]]);
        });
        let Err(Error::Config(problems)) = error else { panic!("{error:?}") };
        assert_eq!(problems.len(), 4, "{problems:?}");
    }

    #[test]
    fn a_key_that_nobody_knows_is_no_request() {
        let error = asked(|request| request["thread"] = json!(3)).unwrap_err();
        assert!(
            matches!(&error, Error::Internal(said) if said.contains("unknown field `thread`")),
            "{error}"
        );
    }

    #[test]
    fn the_most_threads_that_fit_fit_and_one_more_does_not() {
        let plan = asked(|request| request["threads"] = json!(100_000)).unwrap();
        for threads in [1, 2, 63, 4097, 99_999] {
            let needs = plan.needs(threads);
            let room = Room { threads: u64::from(needs.os_threads), memory_bytes: u64::MAX };
            assert_eq!(plan.most_threads(room), threads);
            let room = Room { threads: u64::MAX, memory_bytes: needs.memory_bytes };
            assert_eq!(plan.most_threads(room), threads);
            let room = Room { threads: u64::MAX, memory_bytes: needs.memory_bytes - 1 };
            assert_eq!(plan.most_threads(room), threads - 1);
        }
        assert_eq!(plan.most_threads(Room { threads: u64::MAX, memory_bytes: u64::MAX }), 100_000);
        assert_eq!(plan.most_threads(Room { threads: 0, memory_bytes: 0 }), 0);
    }

    #[test]
    fn a_simulation_needs_one_thread_and_a_trace_memory() {
        let plan = asked(|request| request["driver"] = json!("sim")).unwrap();
        assert_eq!(plan.needs(7).os_threads, 1);
        let traced = asked(|request| request["trace_last"] = json!(1000)).unwrap();
        let threads = u64::from(traced.needs(7).os_threads);
        let more = traced.needs(7).memory_bytes - asked(|_| ()).unwrap().needs(7).memory_bytes;
        assert_eq!(more, threads * 1000 * size_of::<Traced>() as u64);
    }
}
