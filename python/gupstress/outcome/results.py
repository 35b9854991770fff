"""What a run found: the models of the result JSON, schema `gupstress.run/1`.

Times are in seconds where a name ends in `_s` and in nanoseconds where it ends in
`_ns`; rates are per second. Additions by later versions are kept when read.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, model_validator

from gupstress.outcome.findings import (
    BrokenInvariant,
    FailedCall,
    HeldUp,
    OomVictim,
    StuckCall,
    UnsafePin,
)
from gupstress.outcome.record import Amount, Count, Document, Record, Sample


class Build(Record):
    """Which gupstress it was."""

    version: str
    build_profile: str
    """`release`, or a build whose speed says nothing: `checked`, `debug`."""


class Host(Record):
    """The machine that the run was made on."""

    kernel: str
    cpu_model: str
    cpus: Count
    """CPUs that this process may use."""
    memory_bytes: Count
    load: tuple[Amount, Amount, Amount]
    """Load averages over 1, 5 and 15 minutes, before the run."""


class Settings(Record):
    """What was asked for, with defaults filled in; further keys are the profile's."""

    profile: str
    kernel: str
    driver: str
    threads: Count
    cpus: Count
    """Simulated CPUs."""
    pins: Count
    timeout_s: Amount
    wall_timeout_s: Amount | None = None
    """Null: not known, as of runs without one."""
    stall_after_s: Amount
    seed: Count
    """Of the first repeat; each further one adds 1."""
    perturb: Amount | None
    repeat: Count
    interleave: bool
    sets: dict[str, str]
    target: Literal["model", "live"] = "model"
    """Who ran it: the model, or a real kernel under its own policy."""
    scan: dict[str, tuple[str, ...]] | None = None
    """Of a sweep the values of each key; what is scanned stands above as in its first row."""


class Calls(Record):
    """Calls of `pin_user_pages` by how they ended."""

    issued: Count
    pinned: Count
    pinned_unsafe: Count
    """Success, with a page where pages must stay movable."""
    failed_justified: Count
    """Failed, with a page in the range that had a permanent obstacle."""
    failed_spurious: Count
    """Failed without need."""
    oom_killed: Count = 0
    """Ended by a signal: the OOM killer chose the process that pins. No file older than this
    has such calls."""
    stuck: Count
    """Never ended."""

    @model_validator(mode="after")
    def _adds_up(self) -> "Calls":
        ended = self.pinned + self.pinned_unsafe + self.failed_justified + self.failed_spurious
        ended += self.oom_killed + self.stuck
        if self.issued != ended:
            raise ValueError(f"{self.issued} calls issued, {ended} accounted for")
        return self


class Errors(Record):
    """Failed calls by errno."""

    ENOMEM: Count = 0
    EBUSY: Count = 0
    EFAULT: Count = 0
    EAGAIN: Count = 0
    EINTR: Count = 0
    EINVAL: Count = 0
    ETIMEDOUT: Count = 0
    EHWPOISON: Count = 0
    ENOSPC: Count = 0


class Causes(Record):
    """Failed calls by what made them fail, at the test that their page failed."""

    pinned: Count = 0
    """Others' pins: more references than a migration takes."""
    in_batch: Count = 0
    """A batch that had the page off the LRU, or a reference on it."""
    isolated: Count = 0
    """Another had it off the LRU."""
    locked: Count = 0
    writeback: Count = 0
    short_refs: Count = 0
    """References that pass, of none of these."""
    zero_page: Count = 0
    reserved: Count = 0
    hwpoison: Count = 0
    never_on_lru: Count = 0
    held: Count = 0
    """By an earlier pin or holder that does not let go."""
    no_memory: Count = 0
    """None outside Movable and CMA."""
    bad_address: Count = 0
    """Nothing was mapped there that may be pinned so."""
    memlock: Count = 0
    """More pages than RLIMIT_MEMLOCK lets be kept."""
    dma_entries: Count = 0
    """More DMA mappings than dma_entry_limit."""
    unknown: Count = 0
    """No page failed a test."""


class Pages(Record):
    """Pages by what happened to them."""

    pinned: Count
    contended: Count | None
    """Pinned by a call that met resistance; null: a real kernel does not say."""


class Throughput(Record):
    """Rates; null where no time passed."""

    calls_per_s: Sample
    pages_per_s: Sample


class Latency(Record):
    """Of a call, in nanoseconds."""

    min: Sample
    mean: Sample
    p50: Sample
    p90: Sample
    p99: Sample
    p99_9: Sample
    max: Sample


class Sweeps(Record):
    """Of the long-term loop, for each call."""

    mean: Sample
    p50: Sample
    p99: Sample
    max: Sample


class Counters(Record):
    """Events, named as in the kernel; null: a real kernel does not count it."""

    acquired: Count | None
    """Page pins taken, `nr_foll_pin_acquired`; a range that was migrated is taken twice."""
    released: Count | None
    migrated: Count | None
    migrate_failed: Count | None
    """Pages given up by `migrate_pages`."""
    migrate_calls: Count | None
    isolate_calls: Count | None
    isolate_busy: Count | None
    """Isolations that found PG_lru clear."""
    drain_all: Count | None
    drain_idle: Count | None
    """Drains of all that found no batch with anything in it."""
    drain_shortcut: Count | None
    """Drains of all that returned because another's had covered them."""
    drain_local: Count | None
    drain_work: Count | None
    """Drains that these threads had kworkers run."""
    mlock_drain: Count | None = None
    """Drains of a CPU's mlock batch asked for; null, here and below, in files of before."""
    target_allocs: Count | None = None
    """Migration targets asked for."""
    slow_entries: Count | None = None
    """Calls that went on, or began, in the long-term loop."""
    faults: Count | None
    gup_fast: Count | None
    """Pages pinned without the slow path."""
    sweeps: Count | None
    migration_waits: Count | None
    lock_waits: Count | None
    drain_waits: Count | None
    owner_waits: Count | None
    """Waits for a page in another's hands."""
    turn_waits: Count | None
    """Waits for a call's turn, where the policy gives waiters an order."""
    drain_all_ns: Count | None
    """Nanoseconds spent in drains of all, waits included."""
    pinned_ns: Count | None
    """Nanoseconds for which sweeps held pins before they gave them back, or succeeded."""
    backoffs: Count | None
    zapped: Count | None
    offlined: Count | None
    """Blocks that offlining emptied."""
    offline_failed: Count | None
    split_calls: Count | None = None
    """Splits of a folio that were tried."""
    thp_split_page: Count | None = None
    thp_split_page_failed: Count | None = None
    thp_split_pmd: Count | None = None
    """PMD mappings replaced by PTEs."""
    thp_deferred_split_page: Count | None = None
    """Huge pages of which a part was unmapped."""
    thp_fault_alloc: Count | None = None
    thp_fault_fallback: Count | None = None
    """Faults that wanted a huge page and got a small one."""
    thp_migration_success: Count | None = None
    thp_migration_fail: Count | None = None
    """Huge pages not migrated as one, those among them that were split."""
    thp_migration_split: Count | None = None
    isolate_hugetlb_calls: Count | None = None
    oom_kills: Count | None = None
    """Processes killed for want of memory."""
    dma_checked: Count | None
    """Patterns that a device wrote and that were found again at unpin."""


class PassingPins(Record):
    """Sweeps of the long-term loop that hold pins: each is in the way of all migrations."""

    mean: Amount | None
    """At once, over the run."""
    max: Count
    """At once, the most there were."""


class Fairness(Record):
    """How the work was shared between threads."""

    jain: Sample
    """Jain's index: 1 where all shares are equal, 1/threads where one has all."""
    min_max: Sample
    """Smallest share by largest."""
    longest_wait_ns: Sample
    max_bypass: Count | None
    """Most calls that overtook one call."""


class Attempts(Record):
    """What became of those who want memory back: offlining, or contiguous allocation."""

    attempts: Count
    """That ended; the sum of the next five."""
    emptied: Count
    failed_justified: Count
    """Some page could not be moved for good, or as long as an unsafe pin stayed."""
    failed_spurious: Count
    stuck: Count
    """Cut off by the end of the run, with a page in the way that stays for good."""
    interrupted: Count
    held_up_by_pin: Count
    """Whatever became of them: an unsafe pin was in the way."""
    rounds: Count
    """In vain, of all of them."""
    longest_ns: Count


class Victims(Record):
    """Who wants memory back."""

    kinds: dict[str, Attempts]
    findings: tuple[HeldUp, ...]
    """The first hundred."""


class Oom(Record):
    """What was killed for want of memory."""

    kills: Count
    """Processes."""
    needless: Count
    """Those whose death could not help: nothing that they had could the allocation use."""
    panicked: bool
    """Whether there was nobody left to kill in the end."""
    findings: tuple[OomVictim, ...]
    """The first hundred."""


Verdict = Literal[
    "ok",
    "justified",
    "slow-drains",
    "spurious",
    "inconclusive",
    "oom-killed",
    "unsafe",
    "stuck",
    "panicked",
    "broken",
]
"""What a policy came to, best first: the order is the core's.

`justified`: every failure had a permanent obstacle; `slow-drains`: every call pinned,
but most drain all CPUs for nothing; `inconclusive`: may be anything up to stuck;
`oom-killed`: processes were killed for memory; `panicked`: with nobody left to kill;
`broken`: the machine's invariants do not hold, which is a bug in gupstress.
"""


class Liveness(Record):
    """Whether every call returned."""

    verdict: Literal["live", "starved", "livelocked", "deadlocked", "inconclusive"]
    findings: tuple[StuckCall, ...]


class Safety(Record):
    """Whether every success was true, and every pin somebody's."""

    verdict: Literal["safe", "violated"]
    leaked: Count = 0
    """Page pins that nobody gives back: `acquired` − `released` when all pinners are done."""
    findings: tuple[UnsafePin, ...]
    """The first hundred; `calls.pinned_unsafe` counts all."""


class OfCaller(Record):
    """What one kind of caller came to."""

    threads: Count
    calls: Calls
    errors: Errors
    pages: Pages
    latency_ns: Latency


class Invariants(Record):
    """Whether the machine's own books balance; broken is a bug in gupstress."""

    verdict: Literal["held", "broken", "inconclusive"]
    """Inconclusive: what was counted held, but the end of the run cut the recount off."""
    checked: Count
    broken: Count = 0
    """Those that did not hold."""
    findings: tuple[BrokenInvariant, ...]
    """The first hundred of them."""


class Contention(Record):
    """Shares as they were measured on real kernels, where all threads pin one range in rounds."""

    rounds: Count
    pages: Count
    """In the range."""
    acquired_per_page_per_thread: Amount
    """A round."""
    migrated_per_page: Amount
    """A round, by all threads."""
    migrate_failed_per_page: Amount
    enomem_share: Amount
    """Of all calls."""


class Interval(Record):
    """One point of the timeline."""

    t_s: Amount
    pages_pinned: Count
    calls: Count


class Disturbance(Record):
    """What came between a run and its CPUs; null where the host does not tell."""

    cpu_s: Amount
    """CPU time that there was on all CPUs of the process while it ran, used or not."""
    others_s: Amount
    """CPU time that other processes took of it."""
    steal_s: Amount
    """CPU time that the hypervisor took of it."""
    quota_throttled_s: Sample
    """Time in which a cgroup's CPU quota was used up."""
    thermal_events: Count | None
    """Times that a CPU slowed down because it was hot."""
    clock: Sample
    """Highest clock that the CPUs were allowed at the end, by that at the start."""


class Stability(Record):
    """Whether the times and rates of a policy's repeats are worth trusting."""

    stable: bool
    reasons: tuple[str, ...]


class PolicyResult(Record):
    """One run of one policy."""

    policy: str
    kernel: str
    repeat: Annotated[int, Field(ge=1)]
    status: Literal["complete", "timeout", "stuck", "killed", "panicked", "interrupted", "aborted"]
    """`aborted`: it had missed a threshold for good that it was to end at; `killed`: the OOM
    killer ended the process that pins; `panicked`: it had nobody left to kill."""
    wall_timeout: bool = False
    """Whether the timeout was that of the host's time, and not of the driver's clock."""
    verdict: Verdict | None = None
    """What it came to, in one word; null in files of versions that did not say."""
    elapsed_s: Amount
    wall_s: Amount | None = None
    """Of the host's time, set-up and recount included; null in files older than this."""
    cpu_s: Amount
    seed: Count
    calls: Calls
    interrupted: Count = 0
    """Calls that the end of the run cut off, which are of no class."""
    errors: Errors
    causes: Causes | None = None
    """The sum is all failed calls; null in files of versions that did not count them."""
    pages: Pages
    passing_pins: PassingPins | None = None
    """Null in files of versions that did not count them."""
    throughput: Throughput
    latency_ns: Latency
    uncontended_ns: Sample = None
    """What a call takes with nobody in its way, the median; null: not measured."""
    sweeps: Sweeps
    counters: Counters
    """In the pinning threads since they set off, and what they had kworkers do."""
    background: Counters
    """In all other actors."""
    fairness: Fairness
    callers: dict[str, OfCaller] = Field({})
    """By kind, as the profile's `callers` names them; empty where there is one kind."""
    liveness: Liveness
    safety: Safety
    invariants: Invariants
    victims: Victims | None = None
    """Null where nobody wants memory back."""
    oom: Oom | None = None
    """Null where nothing was killed for want of memory."""
    failures: tuple[FailedCall, ...]
    """The first hundred; `calls` and `errors` count all."""
    contention: Contention | None = None
    """Null unless the profile's pinners go in rounds."""
    timeline: tuple[Interval, ...]
    resolved: dict[str, dict[str, JsonValue]]
    """Policy, profile and kernel with every key, as they were run."""
    disturbance: Disturbance | None = None
    """Null on a virtual clock, which nothing disturbs."""
    stability: Stability | None = None
    """Of all repeats of the policy, the same in each."""
    scan: dict[str, str] | None = None
    """In a sweep what was set for this row, which is a part of the policy's name then."""

    @property
    def base_policy(self) -> str:
        """The policy's own name, without what a sweep set."""
        return str(self.resolved["policy"].get("name", self.policy)) if self.scan else self.policy

    def __repr__(self) -> str:
        found = ", ".join(part.verdict for part in (self.liveness, self.safety, self.invariants))
        calls = f"{self.calls.issued} calls, {self.calls.failed_spurious} failed without need"
        return f"<PolicyResult {self.policy}, repeat {self.repeat}: {found}; {calls}>"

    __str__ = __repr__

    @model_validator(mode="after")
    def _failures_have_causes(self) -> "PolicyResult":
        if self.causes is not None:
            caused = sum(getattr(self.causes, name) for name in Causes.model_fields)
            failed = self.calls.failed_justified + self.calls.failed_spurious
            if caused != failed:
                raise ValueError(f"{failed} calls failed, {caused} of them by a known cause")
        return self


class ThresholdResult(Record):
    """One threshold at one result."""

    expr: str
    policy: str
    repeat: Count
    observed: float | None
    """Null where the metric had nothing to be taken from; such a threshold is missed."""
    passed: bool


class Run(Document):
    """Everything one command or `gupstress.run` found."""

    # What users hold adds to this: it is one thing to whoever reads a schema.
    model_config = ConfigDict(title="RunResult")

    # pydantic's BaseModel has a deprecated method of this name.
    schema_: Literal["gupstress.run/1"] = Field(default="gupstress.run/1", alias="schema")
    gupstress: Build
    argv: tuple[str, ...]
    started_at: AwareDatetime
    status: Literal["complete", "timeout", "interrupted"]
    host: Host
    settings: Settings
    results: tuple[PolicyResult, ...]
    thresholds: tuple[ThresholdResult, ...]
    comparison: dict[str, JsonValue] | None = None
    """With what `--baseline` named: a `gupstress.compare/1`, this run the head."""
    beside: dict[str, JsonValue] | None = None
    """With `--on both`: a `gupstress.beside/1`, this run the kernel's side."""
