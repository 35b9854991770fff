//! What each thread did last: its steps, waits and calls, newest kept.
//!
//! Like the ring buffer of ftrace, a trace costs the same however long the run
//! is: what is older than a thread's last `n` events is counted and forgotten.
//! [`write_chrome`] says it in the Trace Event Format, which Perfetto and
//! `chrome://tracing` open.

use crate::machine::{CpuId, NO_FRAME};
use gupstress_machine::drive::Deed;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What a thread did, when and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traced {
    /// Nanoseconds since the run began; virtual ones on the simulator.
    pub at_ns: u64,
    /// Its number in the run.
    pub thread: u32,
    /// The simulated CPU it was on.
    pub cpu: CpuId,
    /// What it did.
    pub deed: Deed,
}

/// The last events of one thread.
#[derive(Debug)]
pub struct Ring {
    last: usize,
    /// Events forgotten.
    lost: u64,
    events: VecDeque<Traced>,
}

impl Ring {
    /// Keeps the `last` events, at least one.
    pub fn new(last: usize) -> Self {
        Self { last: last.max(1), lost: 0, events: VecDeque::new() }
    }

    /// Adds an event, forgetting the oldest if need be.
    pub fn push(&mut self, event: Traced) {
        if self.events.len() == self.last {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back(event);
    }

    /// The thread that it is of, if that did anything.
    pub fn thread(&self) -> Option<u32> {
        self.events.front().map(|event| event.thread)
    }

    /// Says when its events were by another clock.
    pub fn retime(&mut self, at: impl Fn(u64) -> u64) {
        self.events.iter_mut().for_each(|event| event.at_ns = at(event.at_ns));
    }

    /// What is kept, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Traced> {
        self.events.iter()
    }
}

/// The traces of one run.
#[derive(Debug, Default)]
pub struct Trace {
    /// What each thread is called, by number.
    pub names: Vec<String>,
    /// One for each thread that did anything.
    pub rings: Vec<Ring>,
}

/// Writes the traces of a run as Trace Events, separated by commas, as the process `pid` called `name`.
///
/// A step lasts until the thread's next event, a wait until it woke, a call
/// until it returned; what was under way when the trace began or ended is cut
/// there. Times are in microseconds, as the format has it.
pub fn write_chrome(trace: &Trace, pid: u32, name: &str) -> String {
    let mut out = Chrome { text: String::new(), pid };
    out.put(&json!({ "ph": "M", "name": "process_name", "pid": pid, "args": { "name": name } }));
    for ring in &trace.rings {
        let Some(thread) = ring.thread() else { continue };
        let name = trace.names.get(thread as usize).map_or("", String::as_str);
        let args = json!({ "name": name, "lost": ring.lost });
        out.put(&json!({ "ph": "M", "name": "thread_name", "pid": pid, "tid": thread, "args": args }));
        out.put(&json!({ "ph": "M", "name": "thread_sort_index", "pid": pid, "tid": thread,
                         "args": { "sort_index": thread } }));
        out.thread(ring);
    }
    out.text
}

struct Chrome {
    text: String,
    pid: u32,
}

impl Chrome {
    fn put(&mut self, event: &Value) {
        if !self.text.is_empty() {
            self.text.push_str(",\n");
        }
        self.text.push_str(&event.to_string());
    }

    fn slice(&mut self, thread: u32, name: &str, (from, to): (u64, u64), args: &Value) {
        let us = |ns: u64| ns as f64 / 1000.0;
        self.put(&json!({ "ph": "X", "name": name, "pid": self.pid, "tid": thread,
                          "ts": us(from), "dur": us(to.saturating_sub(from)), "args": args }));
    }

    fn thread(&mut self, ring: &Ring) {
        let events: Vec<&Traced> = ring.events().collect();
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let mut call = None;
        for (i, &event) in events.iter().enumerate() {
            let next = events.get(i + 1).map_or(last.at_ns, |next| next.at_ns);
            let during = (event.at_ns, next);
            match event.deed {
                Deed::Step(step, frame) => {
                    let mut args = json!({ "cpu": event.cpu });
                    if frame != NO_FRAME {
                        args["frame"] = json!(frame);
                    }
                    self.slice(event.thread, step.name(), during, &args);
                }
                Deed::Wait(on) => {
                    let name = format!("wait for {}", on.describe());
                    self.slice(event.thread, &name, during, &json!({ "cpu": event.cpu }));
                }
                Deed::Woken => {}
                Deed::Call(pages) => call = Some((event.at_ns, pages)),
                Deed::Return(class) => {
                    let (from, pages) =
                        call.take().map_or((first.at_ns, None), |(at, pages)| (at, Some(pages)));
                    self.call(event.thread, pages, (from, event.at_ns), class);
                }
            }
        }
        if let Some((from, pages)) = call {
            self.call(first.thread, Some(pages), (from, last.at_ns), "under way");
        }
    }

    fn call(&mut self, thread: u32, pages: Option<u32>, during: (u64, u64), class: &str) {
        self.slice(thread, &format!("pin: {class}"), during, &json!({ "pages": pages, "class": class }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gupstress_machine::drive::{Step, Wait};
    use gupstress_machine::machine::Frame;

    fn at(at_ns: u64, deed: Deed) -> Traced {
        Traced { at_ns, thread: 0, cpu: CpuId(1), deed }
    }

    fn slices(events: &[Traced], last: usize) -> Vec<Value> {
        let mut ring = Ring::new(last);
        events.iter().for_each(|&event| ring.push(event));
        let trace = Trace { names: vec!["pinner 0".into()], rings: vec![ring] };
        let all: Vec<Value> =
            serde_json::from_str(&format!("[{}]", write_chrome(&trace, 7, "bounded"))).unwrap();
        assert!(all.iter().all(|event| event["pid"] == 7));
        all
    }

    #[test]
    fn a_call_spans_its_steps_and_a_wait_ends_when_woken() {
        let all = slices(
            &[
                at(1000, Deed::Call(4)),
                at(1000, Deed::Step(Step::Sweep, NO_FRAME)),
                at(1500, Deed::Step(Step::GupWalk, Frame(9))),
                at(2000, Deed::Wait(Wait::PageLock(Frame(9)))),
                at(5000, Deed::Woken),
                at(6000, Deed::Return("pinned")),
            ],
            100,
        );
        let found: Vec<(&str, f64, f64)> = all
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| {
                (
                    event["name"].as_str().unwrap(),
                    event["ts"].as_f64().unwrap(),
                    event["dur"].as_f64().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("pin:sweep", 1.0, 0.5),
                ("gup:walk", 1.5, 0.5),
                ("wait for the lock of frame 9", 2.0, 3.0),
                ("pin: pinned", 1.0, 5.0)
            ]
        );
        assert_eq!(all[1]["args"], json!({ "name": "pinner 0", "lost": 0 }));
        assert_eq!(all[4]["args"], json!({ "cpu": 1, "frame": 9 }));
    }

    #[test]
    fn the_newest_are_kept_and_the_rest_is_counted() {
        let all = slices(
            &[
                at(1, Deed::Call(4)),
                at(2, Deed::Step(Step::Sweep, NO_FRAME)),
                at(3, Deed::Return("stuck")),
                at(4, Deed::Call(2)),
                at(9, Deed::Step(Step::Sweep, NO_FRAME)),
            ],
            4,
        );
        assert_eq!(all[1]["args"]["lost"], 1);
        let calls: Vec<&Value> = all.iter().filter(|event| event["args"]["class"].is_string()).collect();
        assert_eq!(calls.len(), 2);
        // Whose beginning is lost begins where the trace does; whose end is not there yet ends there.
        assert_eq!(calls[0]["ts"], 0.002);
        assert_eq!(calls[0]["args"], json!({ "pages": null, "class": "stuck" }));
        assert_eq!((&calls[1]["args"]["class"], &calls[1]["dur"]), (&json!("under way"), &json!(0.005)));
    }
}
