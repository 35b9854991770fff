//! Placeholder until the run exists.
fn main() {}
