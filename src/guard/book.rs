//! Everything that was read at one moment: rules, users, keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::error::BookError;
use super::options::{IdentityIssuer, KeysFrom, Mode, Options, TokenServer};
use super::users::Users;
use crate::auth::{HashError, Issuer, Key, Rules};
use crate::base::units::MIB;
use crate::disk::read_small_file_with_mode_blocking;

/// Longest file of rules, users or keys.
const FILE_BYTES_MAX: u32 = MIB;
/// Permissions of others.
const OTHERS_BITS: u32 = 0o007;

/// What is in force. Never changed: a change of a file makes another one.
#[derive(Debug)]
pub struct Book {
    /// Whose tokens are taken; nobody's where nobody is asked.
    pub(super) issuer: Option<Trusted>,
    /// Whose tokens are taken beside those that are made here.
    pub(super) other: Option<Trusted>,
    pub(super) rules: Rules,
    pub(super) users: Users,
    /// Whose signed identities are taken as passwords, by user name.
    pub(super) identities: BTreeMap<Box<str>, Trusted>,
}

/// Somebody whose tokens are taken.
#[derive(Debug)]
pub(super) enum Trusted {
    /// With keys that are known for as long as the book is.
    Known(Issuer),
    /// With keys that are fetched: its place among those.
    Fetched(usize),
}

impl Book {
    /// Reads everything. Blocks.
    ///
    /// - Errors: the first thing that is not in order.
    pub fn read(options: &Options) -> Result<Self, BookError> {
        let mut users = Users::new().map_err(unhashed)?;
        let (mut identities, mut other) = (BTreeMap::new(), None);
        let issuer = match &options.mode {
            Mode::None => None,
            Mode::Token(server) => Some(read_server(server)?),
            Mode::Users(own) => {
                users.add("`auth.users`", own.users.iter().map(|line| &**line))?;
                if let Some(path) = &own.users_file {
                    let text = read_private_text(path)?;
                    users.add(&path.display().to_string(), text.lines())?;
                }
                other = own.other.as_deref().map(read_server).transpose()?;
                let is_fetched = matches!(other, Some(Trusted::Fetched(_)));
                let first = usize::from(is_fetched);
                identities = read_identities(&own.identities, &users, first)?;
                Some(Trusted::Known(Issuer {
                    name: options.service.clone(),
                    audiences: vec![options.service.clone()],
                    keys: vec![own.signer.public().clone()],
                }))
            }
        };
        Ok(Self {
            issuer,
            other,
            rules: read_rules(options)?,
            users,
            identities,
        })
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// Reads the rules of the configuration and of the file, which has `[[rules]]`. Blocks.
///
/// - Errors: the first rule that is not in order.
pub fn read_rules(options: &Options) -> Result<Rules, BookError> {
    // Those of the configuration alone first: an error then has its own place.
    Rules::read(&options.rules).map_err(BookError::Rules)?;
    let mut rules = options.rules.clone();
    let Some(path) = &options.rules_file else {
        return Rules::read(&rules).map_err(BookError::Rules);
    };
    let failed = |reason: String| BookError::RulesFile {
        path: path.clone(),
        reason,
    };
    let text = read_text(path)?;
    let file: toml::Table = toml::from_str(&text).map_err(|error| {
        failed(
            error
                .message()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
    })?;
    if let Some(key) = file.keys().find(|key| *key != "rules") {
        return Err(failed(format!(
            "unknown key `{key}`, did you mean `rules`?"
        )));
    }
    let own = match serde_json::to_value(file) {
        Ok(Value::Object(mut table)) => table.remove("rules"),
        _ => None,
    };
    match own {
        None => {}
        Some(Value::Array(own)) => {
            Rules::read(&own).map_err(|error| failed(error.to_string()))?;
            rules.extend(own);
        }
        Some(_) => return Err(failed("`rules` is not a list of tables".to_owned())),
    }
    Rules::read(&rules).map_err(|error| failed(error.to_string()))
}

/// An issuer with its keys; `None` for one whose keys are fetched.
fn read_issuer(
    name: &str,
    audiences: Vec<Box<str>>,
    keys: &KeysFrom,
) -> Result<Option<Issuer>, BookError> {
    let KeysFrom::Files(files) = keys else {
        return Ok(None);
    };
    let mut keys = Vec::new();
    for path in files {
        keys.extend(read_keys(path)?);
    }
    Ok(Some(Issuer {
        name: name.into(),
        audiences,
        keys,
    }))
}

/// A token server; the first of those whose keys are fetched, where they are.
fn read_server(server: &TokenServer) -> Result<Trusted, BookError> {
    let read = read_issuer(&server.issuer, server.audiences.clone(), &server.keys)?;
    Ok(read.map_or(Trusted::Fetched(0), Trusted::Known))
}

/// Those whose keys are fetched have the places from `first` on.
///
/// - Errors: also when a name is that of a user, who would then be two.
fn read_identities(
    issuers: &[IdentityIssuer],
    users: &Users,
    first: usize,
) -> Result<BTreeMap<Box<str>, Trusted>, BookError> {
    let mut identities = BTreeMap::new();
    let mut places = first..;
    for one in issuers {
        let read = read_issuer(&one.issuer, one.audiences.clone(), &one.keys)?;
        let place = if read.is_none() { places.next() } else { None };
        let fetched = || Trusted::Fetched(place.unwrap_or_default());
        let issuer = read.map_or_else(fetched, Trusted::Known);
        let is_taken = users.hash(&one.name).is_some();
        if identities.insert(one.name.clone(), issuer).is_some() || is_taken {
            return Err(BookError::Twice {
                place: "`auth.identities`".to_owned(),
                user: one.name.to_string(),
            });
        }
    }
    Ok(identities)
}

fn read_keys(path: &Path) -> Result<Vec<Key>, BookError> {
    Key::read_all(&read(path)?).map_err(|source| BookError::Keys {
        path: path.to_owned(),
        source,
    })
}

fn read_text(path: &Path) -> Result<String, BookError> {
    as_text(path, read(path)?)
}

fn as_text(path: &Path, bytes: Vec<u8>) -> Result<String, BookError> {
    String::from_utf8(bytes).map_err(|_| BookError::RulesFile {
        path: path.to_owned(),
        reason: "not UTF-8".to_owned(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, BookError> {
    read_with_mode(path).map(|(bytes, _)| bytes)
}

/// A file of hashes, which not everybody on the machine may read.
fn read_private_text(path: &Path) -> Result<String, BookError> {
    let (bytes, mode) = read_with_mode(path)?;
    if mode & OTHERS_BITS != 0 {
        let path = path.to_owned();
        return Err(BookError::Permissions { path, mode });
    }
    as_text(path, bytes)
}

fn read_with_mode(path: &Path) -> Result<(Vec<u8>, u32), BookError> {
    let read = read_small_file_with_mode_blocking(path, FILE_BYTES_MAX)?;
    read.ok_or_else(|| BookError::Missing {
        path: path.to_owned(),
    })
}

fn unhashed(source: HashError) -> BookError {
    BookError::Hash {
        place: "nobody".to_owned(),
        user: String::new(),
        source,
    }
}

#[cfg(test)]
#[path = "book_test.rs"]
mod tests;
