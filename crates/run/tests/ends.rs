//! What hangs fails, whatever the host does meanwhile: `scripts/ends`, through which cargo runs tests.
#![cfg(not(loom))]

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// By what the test below is told how to hang.
const HANGS: &str = "HANGS";

/// Runs the test below in a process of its own, which has two seconds of CPU time and is looked at
/// twenty times a second; whether it passed, and what was said of it.
fn ended(hangs: &str) -> (bool, String) {
    let ends = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/ends");
    let output = Command::new(ends)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "body", "--nocapture"])
        .envs([(HANGS, hangs), ("ENDS_CPU", "2"), ("ENDS_LOOKS", "20"), ("ENDS_EVERY", "0.05")])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// As told: is busy, asleep, or asleep but for somebody who looks in now and then, for so long that
/// it is for good; or works for longer than what is asleep is given.
#[test]
fn body() {
    let (began, long) = (Instant::now(), Duration::from_mins(10));
    let (sender, receiver) = mpsc::channel::<()>();
    let asleep = |most: Duration| receiver.recv_timeout(most) == Err(RecvTimeoutError::Timeout);
    let busy = |most: Duration| {
        while began.elapsed() < most {
            std::hint::spin_loop();
        }
    };
    match std::env::var(HANGS).as_deref() {
        Ok("busy") => busy(long),
        Ok("asleep") => assert!(asleep(long)),
        Ok("watched") => while began.elapsed() < long && asleep(Duration::from_millis(20)) {},
        Ok("works") => busy(Duration::from_millis(1500)),
        _ => {}
    }
    drop(sender);
}

#[test]
fn a_test_that_is_busy_for_good_ends_after_so_much_cpu_time() {
    let (passed, said) = ended("busy");
    assert!(!passed && said.contains("no end within 2 s of CPU time"), "{said}");
}

#[test]
fn a_test_whose_threads_wait_for_each_other_is_ended_though_one_looks_in_now_and_then() {
    for hangs in ["asleep", "watched"] {
        let (passed, said) = ended(hangs);
        assert!(!passed && said.contains("asleep in"), "{hangs}: {said}");
    }
}

#[test]
fn a_test_that_works_or_ends_is_left_alone() {
    for hangs in ["works", "no"] {
        let (passed, said) = ended(hangs);
        assert!(passed, "{hangs}: {said}");
    }
}
