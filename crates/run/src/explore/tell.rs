//! A story as text, Markdown or HTML.

use super::story::Story;
use std::fmt::Write;

impl Story {
    /// Tasks that a column is for, and those whose lines go across.
    fn columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = Vec::new();
        for line in &self.lines {
            if !self.tasks[line.task].starts_with("kworker") && !columns.contains(&line.task) {
                columns.push(line.task);
            }
        }
        columns.sort_unstable();
        columns
    }

    /// As plain text; for two threads it is 80 columns wide.
    pub fn text(&self) -> String {
        let columns = self.columns();
        let width = ((WIDTH - PAGE) / columns.len().clamp(1, 2)).max(20);
        let mut out = format!("{}\n\n", self.title);
        let heads = columns.iter().map(|&task| format!("{:width$}", self.tasks[task]));
        _ = writeln!(out, "{}page: references, where", heads.collect::<String>());
        _ = writeln!(out, "{}", "-".repeat(width * columns.len() + PAGE));
        for line in &self.lines {
            let at = columns.iter().position(|&task| task == line.task);
            let own = match at {
                Some(_) => line.text.clone(),
                None => format!("[{}: {}]", self.tasks[line.task], line.text),
            };
            let indent = width * at.unwrap_or(0);
            if line.folded > 0 && at.is_some() {
                let steps = if line.folded == 1 { "step" } else { "steps" };
                _ = writeln!(out, "{:indent$}  ({} {steps})", "", line.folded);
            }
            let rest = width * columns.len() - indent;
            let room = if at.is_some() { width - 1 } else { rest - 1 };
            for (n, part) in wrap(&own, room).iter().enumerate() {
                let beside: String =
                    if n == 0 { line.page.chars().take(PAGE).collect() } else { String::new() };
                _ = writeln!(out, "{}", format!("{:indent$}{part:rest$}{beside}", "").trim_end());
            }
        }
        out.push('\n');
        wrap(&self.end, WIDTH).iter().for_each(|line| _ = writeln!(out, "{line}"));
        out
    }

    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        let columns = self.columns();
        let mut out = format!("**{}**\n\n|", self.title);
        columns.iter().for_each(|&task| _ = write!(out, " {} |", self.tasks[task]));
        _ = writeln!(out, " page |");
        _ = writeln!(out, "|{}", "---|".repeat(columns.len() + 1));
        for line in &self.lines {
            out.push('|');
            let at = columns.iter().position(|&task| task == line.task);
            for column in 0..columns.len() {
                match at {
                    Some(at) if at == column => _ = write!(out, " {} |", line.text),
                    None if column == 0 => _ = write!(out, " *{}*: {} |", self.tasks[line.task], line.text),
                    _ => out.push_str("  |"),
                }
            }
            _ = writeln!(out, " {} |", line.page);
        }
        _ = writeln!(out, "\n{}", self.end);
        out
    }

    /// As a piece of HTML: a table and a sentence.
    pub fn html(&self) -> String {
        let escape = |text: &str| {
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
        };
        let columns = self.columns();
        let mut out = String::from("<section class=\"story\">\n<table>\n");
        _ = writeln!(out, "<caption>{}</caption>\n<tr>", escape(&self.title));
        columns.iter().for_each(|&task| _ = write!(out, "<th>{}</th>", escape(&self.tasks[task])));
        out.push_str("<th>page</th></tr>\n");
        for line in &self.lines {
            out.push_str("<tr>");
            let at = columns.iter().position(|&task| task == line.task);
            if let Some(at) = at {
                for column in 0..columns.len() {
                    let text = if at == column { escape(&line.text) } else { String::new() };
                    _ = write!(out, "<td>{text}</td>");
                }
            } else {
                let text = escape(&format!("{}: {}", self.tasks[line.task], line.text));
                _ = write!(out, "<td colspan=\"{}\"><em>{text}</em></td>", columns.len());
            }
            _ = writeln!(out, "<td>{}</td></tr>", escape(&line.page));
        }
        _ = writeln!(out, "</table>\n<p>{}</p>\n</section>", escape(&self.end));
        out
    }
}

const WIDTH: usize = 80;
/// Of the page's column.
const PAGE: usize = 28;

/// Breaks a text at spaces into lines of at most `width`.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // What is longer than a line is broken behind an underscore of its own.
    let mut parts: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let mut rest = word;
        while rest.chars().count() + 2 > width {
            let fits =
                rest.char_indices().take(width.saturating_sub(3)).map(|(at, _)| at).last().unwrap_or(1);
            let at = rest[..fits].rfind('_').map_or(fits, |at| at + 1).max(1);
            parts.push(rest[..at].to_owned());
            rest = &rest[at..];
        }
        parts.push(rest.to_owned());
    }
    for word in &parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            // What follows the first line of a cell is indented.
            Some(_) if width < WIDTH => lines.push(format!("  {word}")),
            _ => lines.push(word.clone()),
        }
    }
    lines
}
