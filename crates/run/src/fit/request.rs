//! What a front end asks of `fit`, and gets: files in, JSON out.

use super::{Candidate, Cell, Fit, fit};
use crate::config::Document;
use crate::error::{Error, Problem, Result};
use crate::litmus::{Limits, Scenario};
use crate::policy::{Source, load_kernel, show_policy};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Reads the scenarios of measured files: one in a file, or each `[[scenario]]` of it.
///
/// # Errors
/// Everything wrong with them, at once.
pub fn read(files: &[(String, String)]) -> Result<Vec<Scenario>> {
    let (mut scenarios, mut problems) = (Vec::new(), Vec::new());
    for (path, text) in files {
        match read_file(path, text) {
            Ok(read) => scenarios.extend(read),
            Err(error) => problems.extend(error.problems()),
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(Error::Config(problems)) }
}

fn read_file(path: &str, text: &str) -> Result<Vec<Scenario>> {
    let (mut scenarios, mut problems) = (Vec::new(), Vec::new());
    let parts = split(path, text)?;
    let alone = parts.len() == 1 && parts[0].0 == path;
    for (place, text) in parts {
        match Scenario::parse(&place, &text) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) if alone => return Err(error),
            Err(error) => problems.extend(
                // Lines of a table by itself are not those of the file.
                error.problems().into_iter().map(|problem| Problem::new(place.clone(), problem.message)),
            ),
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(Error::Config(problems)) }
}

/// The scenarios of a file, not read yet: where each stands, and its text. One that is no
/// list of `[[scenario]]` is a scenario itself.
///
/// # Errors
/// What is wrong with the list.
pub fn split(path: &str, text: &str) -> Result<Vec<(String, String)>> {
    let mut document = Document::parse(path, text).map_err(Error::Config)?;
    let Some(items) = document.take_items("scenario") else {
        return Ok(vec![(path.to_owned(), text.to_owned())]);
    };
    let wrong = |place: String| Error::config(place, "scenario: not a list of tables; nearest: [[scenario]]");
    let items = items.map_err(|(_, place)| wrong(place))?;
    let texts = items.into_iter().map(|(value, place)| match value {
        toml::Value::Table(table) => Ok((place, table.to_string())),
        _ => Err(wrong(place)),
    });
    texts.collect()
}

/// The kernels that scenarios have counts of.
pub fn kernels(scenarios: &[Scenario]) -> Vec<String> {
    let mut kernels: Vec<String> = Vec::new();
    for kernel in scenarios.iter().flat_map(|scenario| scenario.expect.keys()) {
        if !kernels.contains(kernel) {
            kernels.push(kernel.clone());
        }
    }
    kernels
}

/// Searches for what explains one kernel's counts; JSON.
pub fn explain(scenarios: &[Scenario], kernel: &str, limits: &Limits) -> String {
    let counted = scenarios.iter().filter_map(|scenario| {
        let expect = scenario.expect.get(kernel)?.clone();
        Some(Cell { scenario: scenario.clone(), expect })
    });
    let cells: Vec<Cell> = counted.collect();
    let found = fit(&cells, limits);
    let verdict = match found.explanations.len() {
        _ if found.stopped => "unfinished",
        0 => "unexplained",
        1 => "explained",
        _ => "ambiguous",
    };
    let likeliest = found.explanations.first().map(|one| &one.candidate);
    json!({
        "kernel": kernel,
        "verdict": verdict,
        "cells": cells.len(),
        "tried": found.tried,
        "explanations": found.explanations.iter().map(|one| show(&one.candidate)).collect::<Vec<_>>(),
        "decided": found.decided,
        "undecided": found.undecided,
        "nearest": nearest(&found),
        "toml": likeliest.map(|one| kernel_toml(kernel, one, cells.len())),
        "policy_toml": likeliest.filter(|one| is_policy_changed(one)).map(|one| show_policy(&one.policy)),
    })
    .to_string()
}

fn show(candidate: &Candidate) -> Value {
    let changes = candidate.changes.iter();
    let base = &candidate.rules.name;
    json!({
        "rules": base,
        "same_rules": candidate.same_rules(),
        "policy": candidate.policy.name,
        "own_policy": candidate.is_own_policy(),
        "changes": changes
            .map(|change| json!({
                "table": change.table,
                "axis": change.axis,
                "value": super::plain(&change.value),
            }))
            .collect::<Vec<_>>(),
    })
}

fn nearest(found: &Fit) -> Option<Value> {
    let (candidate, cells) = found.nearest.as_ref()?;
    Some(json!({ "explanation": show(candidate), "unexplained": cells }))
}

fn is_policy_changed(candidate: &Candidate) -> bool {
    candidate.changes.iter().any(|change| change.table == "policy")
}

/// The rule set as a file that `--kernel` takes: a named one and what was changed of it.
fn kernel_toml(kernel: &str, candidate: &Candidate, cells: usize) -> String {
    let base = &candidate.rules.name;
    let text = |text: &str| toml::Value::from(text).to_string();
    let mut file = format!(
        "name = {}\nsummary = {}\nbase = {}\n",
        text(kernel),
        text(&format!("Fitted to {cells} measured cells.")),
        text(base)
    );
    let own = load_kernel(Source::Preset(base), &[]).map(|rules| rules.policy).unwrap_or_default();
    if own != candidate.policy.name {
        _ = writeln!(file, "policy = {}", text(&candidate.policy.name));
    }
    for change in candidate.changes.iter().filter(|change| change.table == "kernel") {
        _ = writeln!(file, "{} = {}", change.axis, change.value);
    }
    file
}
