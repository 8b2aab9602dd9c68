//! Checks the building: every import goes down, into a room that the importing
//! room names. Reads source text only.
//!
//! The rules stand where they are read: the order of the `mod` lines in
//! `lib.rs`, and the `Uses:` and `Crates:` lines at the head of each `mod.rs`.
//! The compiler keeps the doors (modules inside a room are private).

#![expect(
    clippy::unwrap_used,
    reason = "a check that cannot read its input must fail"
)]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "as above")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that tie code to a runtime, a disk format or a protocol.
const GUARDED_CRATES: [&str; 20] = [
    "fjall",
    "futures_rustls",
    "glommio",
    "httparse",
    "io_uring",
    "jsonwebtoken",
    "libc",
    "nix",
    "openraft",
    "openraft_rt",
    "rcgen",
    "rustix",
    "rustls",
    "rustls_native_certs",
    "serde_json",
    "sha2",
    "tokio",
    "ureq",
    "webpki",
    "x509_parser",
];
/// The only files that may contain the keyword `unsafe`.
const UNSAFE_FILES: [&str; 4] = [
    "disk/residency.rs",
    "disk/ring_file.rs",
    "net/kernel_record.rs",
    "net/zero_copy.rs",
];
/// Longest file, in lines; tests in a sibling `*_test.rs` are not counted.
const FILE_LINES_MAX: usize = 500;
/// Longest `mod.rs`, in lines: a door holds a sign and a list, no furniture.
const DOOR_LINES_MAX: usize = 80;

const NUMBERS: [&str; 9] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i32", "i64", "f64",
];
const QUALIFIERS: [&str; 3] = ["MAX", "MIN", "DEFAULT"];
const UNITS: [&str; 10] = [
    "KIB", "MIB", "LOG2", "PERCENT", "PORT", "VERSION", "MAGIC", "ID", "TAG", "LEVEL",
];

struct Room {
    rank: usize,
    uses: BTreeSet<String>,
    crates: BTreeSet<String>,
}

type Rooms = BTreeMap<String, Room>;

#[test]
fn imports_go_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    let rooms = read_rooms(&src, &mut violations);
    for (name, room) in &rooms {
        let mut seen = BTreeSet::new();
        for file in rust_files(&src.join(name)) {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(&src).unwrap().display().to_string();
            check_size(&path, &text, &mut violations);
            let tokens = tokens(&text);
            check_crates(&path, &tokens, room, &mut violations);
            check_units(&path, &tokens, &mut violations);
            for target in rooms_named(&tokens).into_iter().filter(|t| t != name) {
                if !room.uses.contains(&target) {
                    violations.push(format!("{path}: imports `{target}`, not in `Uses`"));
                }
                seen.insert(target);
            }
        }
        for stale in room.uses.difference(&seen) {
            violations.push(format!("{name}: `Uses: {stale}`, but no file imports it"));
        }
        for used in &room.uses {
            if rooms.get(used).is_none_or(|other| other.rank >= room.rank) {
                violations.push(format!("{name}: `Uses: {used}` is not a room below"));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn rooms_named_expands_groups_and_skips_text() {
    let source = "use crate::{oci::{Digest as D, Tag}, http::Head}; // crate::raft::X
        let a = \"crate::gc::X\"; let b = '\"'; crate::disk::open(r#\"\"crate::net\"\"#)";
    let expected = ["disk", "http", "oci"].map(str::to_owned);
    assert_eq!(rooms_named(&tokens(source)), BTreeSet::from(expected));
}

fn check_size(path: &str, text: &str, violations: &mut Vec<String>) {
    let lines_max = if path.ends_with("/mod.rs") {
        DOOR_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    if !path.ends_with("_test.rs") && text.lines().count() > lines_max {
        violations.push(format!("{path}: longer than {lines_max} lines"));
    }
}

fn check_crates(path: &str, tokens: &[String], room: &Room, violations: &mut Vec<String>) {
    let mut before = "";
    for (index, token) in tokens.iter().enumerate() {
        let is_root = before != "::" && tokens.get(index + 1).is_some_and(|next| next == "::");
        let is_guarded = is_root && GUARDED_CRATES.contains(&token.as_str());
        if is_guarded && !room.crates.contains(token) {
            violations.push(format!("{path}: names crate `{token}`, not in `Crates`"));
        }
        if token == "unsafe" && !UNSAFE_FILES.contains(&path) {
            violations.push(format!("{path}: `unsafe` outside the listed files"));
        }
        if token == "mod" && before == "pub" && !path.starts_with("base/") {
            violations.push(format!(
                "{path}: `pub mod` opens a wall; re-export from `mod.rs`"
            ));
        }
        before = token;
    }
}

/// A numeric constant is `SUBJECT_UNIT` or `SUBJECT_UNIT_QUALIFIER`, the unit a
/// plural (`HEADERS_MAX`, `EXTENT_BYTES`) or one of `UNITS` (`ELECTION_MS_MIN`).
fn check_units(path: &str, tokens: &[String], violations: &mut Vec<String>) {
    for declaration in tokens.windows(4) {
        let [keyword, name, colon, kind] = declaration else {
            continue;
        };
        let is_number = colon == ":" && NUMBERS.contains(&kind.as_str());
        if keyword != "const" || !is_number {
            continue;
        }
        let words = name
            .rsplit('_')
            .skip_while(|word| QUALIFIERS.contains(word));
        let unit = words.into_iter().next().unwrap_or_default();
        if !unit.ends_with('S') && !UNITS.contains(&unit) {
            violations.push(format!("{path}: `{name}` names no unit"));
        }
    }
}

fn read_rooms(src: &Path, violations: &mut Vec<String>) -> Rooms {
    let lib = fs::read_to_string(src.join("lib.rs")).unwrap();
    let names = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    let mut rooms = Rooms::new();
    for (rank, name) in names
        .map(|name| name.trim_end_matches(';').to_owned())
        .enumerate()
    {
        let door = fs::read_to_string(src.join(&name).join("mod.rs")).unwrap_or_default();
        let list = |key: &str| -> Option<BTreeSet<String>> {
            let line = door.lines().find_map(|line| line.strip_prefix(key))?;
            let items = line.split(',').map(|item| item.trim().to_owned());
            Some(items.filter(|item| item != "-").collect())
        };
        if let (Some(uses), Some(crates)) = (list("//! Uses:"), list("//! Crates:")) {
            rooms.insert(name, Room { rank, uses, crates });
        } else {
            violations.push(format!("{name}/mod.rs: no `Uses:` and `Crates:` lines"));
        }
    }
    rooms
}

/// The rooms that paths starting at `crate::` lead to.
fn rooms_named(tokens: &[String]) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for at in 0..tokens.len() {
        let is_crate_path = tokens[at] == "crate" && tokens.get(at + 1).is_some_and(|t| t == "::");
        match tokens.get(at + 2).map(String::as_str) {
            Some("{") if is_crate_path => rooms.extend(group_heads(&tokens[at + 3..])),
            Some(room) if is_crate_path => drop(rooms.insert(room.to_owned())),
            _ => {}
        }
    }
    rooms
}

/// First word of each entry of a `{…}` group whose opening brace is consumed.
fn group_heads(tokens: &[String]) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut is_head) = (0, true);
    for token in tokens {
        match token.as_str() {
            "}" if depth == 0 => break,
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => is_head = true,
            _ if is_head => {
                heads.push(token.clone());
                is_head = false;
            }
            _ => {}
        }
    }
    heads
}

/// Words, `::` and single punctuation marks; comments and literals dropped.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word_bytes = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let token_bytes = if let Some(skipped_bytes) = comment_or_literal(rest) {
            skipped_bytes
        } else if word_bytes > 0 {
            tokens.push(rest[..word_bytes].to_owned());
            word_bytes
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            tokens.extend(first.is_ascii_punctuation().then(|| first.to_string()));
            first.len_utf8()
        };
        rest = &rest[token_bytes..];
    }
    tokens
}

/// Length in bytes of the comment, string or character `text` starts with.
fn comment_or_literal(text: &str) -> Option<usize> {
    let until = |open_bytes: usize, close: &str| {
        let end = text.get(open_bytes..)?.find(close)?;
        Some(open_bytes + end + close.len())
    };
    let length = match text.as_bytes() {
        [b'/', b'/', ..] => until(2, "\n"),
        [b'/', b'*', ..] => until(2, "*/"),
        [b'r', b'"', ..] => until(2, "\""),
        [b'r', b'#', b'"', ..] => until(3, "\"#"),
        [b'"', tail @ ..] => {
            let mut is_escaped = false;
            let end = tail.iter().position(|byte| {
                let is_close = *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                is_close
            });
            end.map(|end| end + 2)
        }
        [b'\'', b'\\', ..] => until(3, "'"),
        [b'\'', _, b'\'', ..] => Some(3),
        _ => return None,
    };
    Some(length.unwrap_or(text.len()))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
