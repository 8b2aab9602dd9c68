//! What nodes showed, and what nobody may see: kept for the whole run of the tests,
//! whose last step looks for the one in the other (`tests/secrets`).
//!
//! Only where `GATHERED` names a folder. Everything that passes by is kept without a
//! word of the tests: what requests show, the keys of nodes and of their
//! configuration, what answers grant. Only what never passes by says so itself.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use toml::{Table, Value};

use super::client::Response;

/// Names the folder.
const VARIABLE: &str = "GATHERED";
/// Kept of one file: its first and its last part of this size.
const PART_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Answers that one process keeps.
const ANSWERS_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Kept of one answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest secret, and longest file with secrets in it.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where everything is kept, if it is.
pub(crate) fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let chosen = || std::env::var_os(VARIABLE).map(PathBuf::from);
    FOLDER.get_or_init(chosen).as_deref()
}

/// Keeps a secret: `kind` says what it is.
pub(crate) fn secret(kind: &str, secret: impl AsRef<[u8]>) {
    thread_local! {
        /// Most are shown many times.
        static SEEN: RefCell<HashSet<Vec<u8>>> = RefCell::default();
    }
    let Some(folder) = folder() else { return };
    let secret = secret.as_ref();
    let is_new = SEEN.try_with(|seen| seen.borrow_mut().insert(secret.to_owned()));
    if secret.is_empty() || is_new == Ok(false) {
        return;
    }
    // One write: other processes write here, too.
    let line = format!("{kind}\t{}\n", STANDARD.encode(secret));
    append(&folder.join("secrets"), line.as_bytes());
}

/// Keeps what a request proves somebody by.
pub(crate) fn request(target: &str, headers: &[(String, String)], body: impl FnOnce() -> Vec<u8>) {
    if folder().is_none() {
        return;
    }
    for (name, value) in headers {
        if !name.eq_ignore_ascii_case("authorization") {
            continue;
        }
        match value.split_once(' ') {
            Some(("Basic", login)) => {
                if let Ok(login) = STANDARD.decode(login) {
                    secret("login", login);
                }
            }
            Some(("Bearer", token)) => secret("token", token),
            _ => {}
        }
    }
    if target.starts_with("/token") {
        let body = body();
        let form = String::from_utf8_lossy(&body);
        let fields: Vec<(&str, &str)> = form
            .split('&')
            .filter_map(|field| field.split_once('='))
            .collect();
        let value = |wanted| fields.iter().find(|(name, _)| *name == wanted);
        if let Some((_, password)) = value("password") {
            let user = value("username").map_or("", |(_, user)| user);
            secret("login", format!("{user}:{password}"));
        }
        if let Some((_, token)) = value("refresh_token") {
            secret("token", token);
        }
    }
}

/// Keeps what an answer grants, and shows the answer where it is an error.
pub(crate) fn answer(target: &str, response: &Response) {
    static KEPT_BYTES: AtomicU64 = AtomicU64::new(0);
    let Some(folder) = folder() else { return };
    if target.starts_with("/token") && response.status == 200 {
        let granted: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
        for (kind, member) in [("token", "token"), ("refresh token", "refresh_token")] {
            if let Some(token) = granted[member].as_str() {
                secret(kind, token);
            }
        }
    }
    if response.status < 400 {
        return;
    }
    let mut text = format!("{}\n", response.status).into_bytes();
    for (name, value) in &response.headers {
        text.extend_from_slice(format!("{name}: {value}\n").as_bytes());
    }
    text.extend_from_slice(&response.body[..response.body.len().min(ANSWER_BYTES_MAX)]);
    text.push(b'\n');
    let bytes = u64::try_from(text.len()).expect("short");
    if KEPT_BYTES.fetch_add(bytes, Ordering::Relaxed) < ANSWERS_BYTES_MAX {
        append(
            &folder.join(format!("{}.answers", std::process::id())),
            &text,
        );
    }
}

/// Keeps what a command said beside its result.
pub(crate) fn command(output: &Output) {
    if let Some(folder) = folder() {
        let name = format!("{}.answers", std::process::id());
        append(&folder.join(name), &output.stderr);
    }
}

/// A name for what is kept of one more node.
pub(crate) fn name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

/// Keeps what a node showed in a file, under a name.
pub(crate) fn shown(file: &Path, name: &str) {
    if let Some(folder) = folder() {
        // What was never there showed nothing.
        drop(copy(file, &folder.join(name)));
    }
}

/// Keeps the keys below a folder of a node.
pub(crate) fn keys(directory: &Path) {
    if folder().is_none() {
        return;
    }
    for (place, kind) in [
        ("token.key", "private key"),
        ("cluster/ca.key", "private key"),
        ("cluster/node.key", "private key"),
        ("uploads/key", "key of uploads"),
    ] {
        secret_file(&directory.join(place), kind);
    }
}

/// Keeps the secrets that a configuration holds or names; says where its audit file is.
pub(crate) fn configuration(path: &Path) -> Option<PathBuf> {
    folder()?;
    let table: Table = toml::from_str(&fs::read_to_string(path).ok()?).ok()?;
    settings(&table);
    let audit = table.get("audit").and_then(|audit| audit.get("file"));
    audit.and_then(Value::as_str).map(PathBuf::from)
}

/// Keeps the secret that a variable of the environment holds or names.
pub(crate) fn variable(name: &str, value: &str) {
    if folder().is_none() {
        return;
    }
    if let Some(key) = name.to_lowercase().rsplit("__").next() {
        setting(key, &Value::String(value.to_owned()));
    }
}

/// Lets a node that crashes leave its memory in a file, as far as the machine allows
/// that: whether it does is the node's own doing then.
pub(crate) fn allow_core_files() {
    if folder().is_some() {
        let limit = getrlimit(Resource::Core);
        let limit = Rlimit {
            current: limit.maximum,
            ..limit
        };
        // Where it is not allowed, there are none.
        let _denied = setrlimit(Resource::Core, limit);
    }
}

fn settings(table: &Table) {
    for (key, value) in table {
        match value {
            Value::Table(table) => settings(table),
            Value::Array(list) => {
                for each in list {
                    match each {
                        Value::Table(table) => settings(table),
                        other => setting(key, other),
                    }
                }
            }
            other => setting(key, other),
        }
    }
}

fn setting(key: &str, value: &Value) {
    let Some(text) = value.as_str() else { return };
    match key {
        "secret" | "join_secret" => secret("shared secret", text),
        "secret_file" | "join_secret_file" => secret_file(Path::new(text), "shared secret"),
        "jwks_token_file" => secret_file(Path::new(text), "token"),
        "key_file" | "signing_key_file" => secret_file(Path::new(text), "private key"),
        "users" => hash(text),
        "users_file" => {
            let lines = fs::read_to_string(text).unwrap_or_default();
            lines.lines().for_each(hash);
        }
        _ => {}
    }
}

/// Keeps the hash in a line of users.
fn hash(line: &str) {
    if let Some((_, hash)) = line.split_once(':') {
        secret("hash of a password", hash.trim());
    }
}

fn secret_file(path: &Path, kind: &str) {
    let mut content = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_end(&mut content));
    if read.is_ok() {
        secret(kind, content.trim_ascii());
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let file = File::options().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.expect("the folder of what is gathered can be written");
}

/// Copies a file; of a long one, its two ends.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let length = from.metadata()?.len();
    let mut to = File::options().create(true).append(true).open(to)?;
    if length > 2 * PART_BYTES_MAX {
        io::copy(&mut (&mut from).take(PART_BYTES_MAX), &mut to)?;
        from.seek(SeekFrom::Start(length - PART_BYTES_MAX))?;
    }
    io::copy(&mut from.take(PART_BYTES_MAX * 2), &mut to)?;
    Ok(())
}
