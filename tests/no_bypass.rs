//! No operation bypasses the driver: what runs on real threads runs unchanged
//! on the simulator.
//!
//! Scans the sources of `machine/`, `ops/` and `policy/` without their comments
//! and literals. Paths are checked against what is *allowed* of `std`, of the
//! crate's drivers and of `sync`, so that a clock or lock nobody thought of is
//! found too; a few names are refused wherever they stand.
#![cfg(not(loom))]

use std::fs;
use std::path::{Path, PathBuf};

/// What the machine may use of `std`: data, no clock, thread, lock, atomic or I/O.
const STD: &[&str] = &["array", "cell", "collections", "fmt", "iter", "mem", "ops", "ptr", "slice"];
/// Its one way to share data that is no lock.
const STD_SYNC: &[&str] = &["Arc"];
/// Atomics and the locks that are never held across a step; no thread, no sleep.
const SYNC: &[&str] = &[
    "AtomicBool",
    "AtomicI32",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "Exclusive",
    "Mutex",
    "MutexGuard",
    "Ordering",
    "fence",
    "seq_cst_in_models",
];
/// What an operation may know of who runs it.
const DRIVE: &[&str] = &["Driver", "Step", "Wait", "Waited"];
/// Modules of the crate that are below, or beside, the operations.
const CRATE: &[&str] = &["config", "drive", "error", "machine", "observe", "ops", "policy", "sync"];
/// Other crates: containers and formats.
const EXTERN: &[&str] = &["boxcar", "crossbeam_utils", "serde", "toml"];
/// Refused as a word of its own, whatever path led to it.
const WORDS: &[&str] = &[
    "Condvar",
    "Instant",
    "LazyLock",
    "Monitor",
    "OnceLock",
    "Parker",
    "RwLock",
    "SystemTime",
    "ThreadRng",
    "async",
    "await",
    "dbg",
    "eprint",
    "eprintln",
    "extern",
    "getrandom",
    "libc",
    "park",
    "park_timeout",
    "print",
    "println",
    "random_state",
    "sleep_until",
    "spawn",
    "spin_loop",
    "static",
    "thread_local",
    "yield_now",
    "RandomState",
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// Words and signs of Rust source, without comments, strings and characters.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut i, mut line) = (0, 1);
    let mut tokens = Vec::new();
    while i < chars.len() {
        let begin = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => i = after_string(&chars, i),
            // A character, not a lifetime: closed at once, or escaped.
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            c if c.is_alphanumeric() || c == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                let word: String = chars[begin..i].iter().collect();
                let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
                if matches!(word.as_str(), "r" | "br") && at(i + hashes) == '"' {
                    i = after_raw_string(&chars, i + hashes, hashes);
                } else if !(word == "b" && matches!(at(i), '"' | '\'')) {
                    tokens.push(Token { text: word, line });
                }
            }
            ':' if at(i + 1) == ':' => {
                tokens.push(Token { text: "::".into(), line });
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.into(), line });
                }
                i += 1;
            }
        }
        line += chars[begin..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

fn after_string(chars: &[char], quote: usize) -> usize {
    let mut i = quote + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn after_raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut i = quote + 1;
    while i < chars.len() {
        let closing = chars[i + 1..].iter().take_while(|&&c| c == '#').count();
        if chars[i] == '"' && closing >= hashes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    i
}

/// Every full path of the path or use-tree that begins at `tokens[*i]`.
fn paths(tokens: &[Token], i: &mut usize, prefix: &[String], into: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    loop {
        let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
        if text(*i) == "{" {
            *i += 1;
            while !matches!(text(*i), "}" | "") {
                paths(tokens, i, &path, into);
                if text(*i) == "as" {
                    *i += 2;
                }
                if text(*i) == "," {
                    *i += 1;
                }
            }
            *i += 1;
            return;
        }
        path.push(text(*i).to_owned());
        *i += 1;
        if text(*i) != "::" {
            return into.push(path);
        }
        *i += 1;
    }
}

/// Why a path is refused, if it is.
fn refused(path: &[String]) -> bool {
    let part = |i: usize| path.get(i).map_or("", String::as_str);
    match part(0) {
        "std" | "core" | "alloc" if part(1) == "sync" => !STD_SYNC.contains(&part(2)),
        "std" | "core" | "alloc" => !STD.contains(&part(1)),
        "crate" if part(1) == "sync" => !SYNC.contains(&part(2)),
        "crate" if part(1) == "drive" => !DRIVE.contains(&part(2)),
        "crate" => !CRATE.contains(&part(1)),
        "crossbeam_utils" => part(1) != "CachePadded",
        _ => false,
    }
}

/// What in a source goes round the driver, each with its line.
fn bypasses(source: &str, dependencies: &[String]) -> Vec<String> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let Token { text, line } = &tokens[i];
        let before = i.checked_sub(1).map_or("", |i| tokens[i].text.as_str());
        let after = tokens.get(i + 1).map_or("", |token| token.text.as_str());
        if WORDS.contains(&text.as_str()) && before != "'" {
            found.push(format!("{line}: {text}"));
        }
        // The driver's own sleep is what is asked for.
        let of_driver = before == "." && i >= 2 && tokens[i - 2].text == "d";
        if text == "sleep" && after == "(" && !of_driver {
            found.push(format!("{line}: sleep"));
        }
        // `loom` is also what a build is configured for.
        let named = before == "use" || after == "::";
        if named && dependencies.contains(text) && !EXTERN.contains(&text.as_str()) {
            found.push(format!("{line}: crate {text}"));
        }
        let root = matches!(text.as_str(), "std" | "core" | "alloc" | "crate" | "crossbeam_utils");
        // `::std` begins a path, `a::core` does not.
        let inner =
            before == "::" && i >= 2 && tokens[i - 2].text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let begins = !inner || tokens[i - 2].text == "use";
        if root && after == "::" && begins {
            let mut end = i;
            let mut all = Vec::new();
            paths(&tokens, &mut end, &[], &mut all);
            let bad = all.into_iter().filter(|path| refused(path));
            found.extend(bad.map(|path| format!("{line}: {}", path.join("::"))));
        }
        i += 1;
    }
    found
}

/// The crate's dependencies, by the names that sources use.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"];
    let own = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
    let mut names: Vec<String> =
        own.flat_map(|table| table.keys().map(|name| name.replace('-', "_"))).collect();
    names.extend(["loom", "rand", "std_detect"].map(str::to_owned));
    names
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn nothing_in_the_machine_its_operations_or_its_policies_bypasses_the_driver() {
    let dependencies = dependencies();
    assert!(dependencies.iter().any(|name| name == "parking_lot"), "{dependencies:?}");
    let mut files = Vec::new();
    for folder in ["machine", "ops", "policy"] {
        let before = files.len();
        sources(&root().join("src").join(folder), &mut files);
        assert!(files.len() > before + 2, "no sources in {folder}");
    }
    let mut found = Vec::new();
    for file in &files {
        let source = fs::read_to_string(file).unwrap();
        assert!(tokens(&source).len() > 20, "{} was not read", file.display());
        found.extend(
            bypasses(&source, &dependencies).into_iter().map(|what| format!("{}:{what}", file.display())),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_sync_names_atomics_and_locks() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut seen = 0;
    for file in files {
        let tokens = tokens(&fs::read_to_string(&file).unwrap());
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        let atomics = texts.windows(5).any(|five| five == ["std", "::", "sync", "::", "atomic"]);
        if atomics || texts.contains(&"parking_lot") {
            assert!(file.ends_with("src/sync.rs"), "{} has its own way to share memory", file.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 1);
}

#[test]
fn the_scanner_finds_each_way_round_the_driver() {
    let dependencies = dependencies();
    let bad = [
        "use std::time::Duration;",
        "use std::{fmt, time::{self, Instant}};",
        "fn f() { let t = std::time::Instant::now(); }",
        "use ::std::thread;",
        "fn f() { std::thread::yield_now() }",
        "use std::sync::atomic::AtomicBool;",
        "use std::sync::{Arc, Mutex};",
        "use core::sync::atomic as quiet;",
        "use std::sync::mpsc::channel;",
        "fn f() { core::hint::spin_loop() }",
        "use crate::sync::thread;",
        "use crate::sync::{Mutex, Monitor};",
        "use crate::sync as s;",
        "use crate::drive::os::OsRun;",
        "use crate::drive::*;",
        "use crate::stress::Job;",
        "use parking_lot::Mutex;",
        "use crossbeam_utils::{Backoff, CachePadded};",
        "fn f() -> u64 { rand::random() }",
        "use rand_xoshiro::Xoshiro256PlusPlus;",
        "fn f() { println!(\"{}\", 1) }",
        "fn f() { helper::sleep(3) }",
        "fn f() { let c = '\\''; std::process::exit(1) }",
        "fn f() { let s = r#\"\"\"#; std::env::var(s) }",
        "static COUNT: u32 = 0;",
        "fn f() { /* outer /* inner */ */ std::fs::read(\"x\") }",
    ];
    for source in bad {
        assert_ne!(bypasses(source, &dependencies), [""; 0], "{source}");
    }
    let good = [
        "// std::time::Instant\nuse std::sync::Arc;",
        "/* std::thread /* nested */ Instant */ use std::{cell::Cell, ops::Range};",
        "const TEXT: &str = \"std::time::Instant \\\" println!\";",
        "const RAW: &str = r##\"std::thread \"# Instant\"##;",
        "fn f<D: Driver>(d: &D) -> bool { self.d.sleep(3) }",
        "use crate::sync::{AtomicU32, Ordering, fence};",
        "fn f<'a>(x: &'a str, y: &'static str) -> char { 'x' }",
        "use crate::drive::{Driver, Step, Wait};",
        "use crossbeam_utils::CachePadded;",
    ];
    for source in good {
        assert_eq!(bypasses(source, &dependencies), [""; 0], "{source}");
    }
    let lines = bypasses("fn f() {}\n\n/* a\n b */\nuse std::time::Instant;\n", &dependencies);
    assert!(lines.iter().all(|line| line.starts_with("5: ")) && !lines.is_empty(), "{lines:?}");
}
