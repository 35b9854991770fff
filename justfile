# The habits. What each step does stands in .ci/run, so that CI and a desk do the same.
# `just` comes with `.ci/run setup`.

set positional-arguments

export VIRTUAL_ENV := env("VIRTUAL_ENV", justfile_directory() / ".venv")
export PATH := VIRTUAL_ENV / "bin:" + env("PATH")

_list:
    @just --list --unsorted

# Make ./.venv and build gupstress into it; again after a change of Rust code
setup:
    .ci/run setup

# All that must hold before a change lands, in a new environment
test:
    .ci/run

# Format, lints and the fast tests of both languages, in this environment
fast: fmt lint rust
    .ci/run python

# And what takes long: the model checker, many seeds, the slow tests
slow:
    .ci/run --slow

# Python tests by file or name: just py tests/python/test_run.py -k interrupt
py *args:
    pytest "$@"

# Rust tests by name: just rust --test truth
rust *args:
    cargo test --locked --profile checked "$@"

# Put everything in the form that `lint` asks for
fmt:
    cargo fmt --all
    ruff check --fix --quiet
    ruff format --quiet

# Every lint and type check
lint:
    .ci/run clippy lint types

# The machine's memory orderings under the model checker
loom:
    .ci/run loom

# Benchmarks: just bench limits
bench *args:
    cargo bench --locked "$@"

# Fill in what the pages take from the code, and follow every page
docs:
    python docs/generate.py
    pytest tests/python/test_docs.py

# Search for the kept schedules anew, after a change of the machine
schedules *words:
    python tests/python/schedules.py "$@"

# Files that are not quite right, and random programs: how long is the seed's to say
fuzz:
    .ci/run fuzz

# Does a test fail if this is broken? just mutants -f crates/machine/src/ops/drain.rs (cargo install cargo-mutants)
mutants *args:
    cargo mutants --profile checked "$@"

# Put each fault of docs/testing.md back: does its test fail? just mutants-known watchdog
mutants-known *args:
    scripts/mutants "$@"

# Weaken each memory ordering: does its model fail? just mutants-ordering page.rs
mutants-ordering *args:
    scripts/mutants loom "$@"

# Change every expression of the machine: what notices? just mutants-all --share 0.05 crates/machine/src/ops
mutants-all *args:
    scripts/mutants-all "$@"
