//! Why the rules, users and keys cannot be read.

use std::path::PathBuf;

use super::fetch_keys::KeysError;
use crate::auth::{HashError, KeyError, RuleError};
use crate::disk;

/// What is wrong in the configuration of access or in a file that it names.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The disk failed.
    #[error("a file that `auth` names")]
    Disk(#[from] disk::Error),
    /// A file is not there.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file with hashes that anybody on the machine may read.
    #[error("{} has mode {mode:04o}: others than its owner and group may not read it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Keys that verify nothing.
    #[error("{}: {source}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A rule of the configuration.
    #[error("`auth.rules`: {0}")]
    Rules(RuleError),
    /// A file with rules.
    #[error("{}: {reason}", path.display())]
    RulesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A line that is not `name:hash`.
    #[error("{place}, entry {entry}: not `name:hash`")]
    Line {
        /// Where it is.
        place: String,
        /// Which, from 1.
        entry: usize,
    },
    /// A hash that cannot be checked against.
    #[error("{place}, user `{user}`: {source}")]
    Hash {
        /// Where it is.
        place: String,
        /// Whose it is.
        user: String,
        /// What is wrong with it.
        source: HashError,
    },
    /// One name, two passwords.
    #[error("{place}: user `{user}` is there twice")]
    Twice {
        /// Where the second one is.
        place: String,
        /// Who.
        user: String,
    },
}

/// The guard could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// What it reads is not in order.
    #[error(transparent)]
    Book(#[from] BookError),
    /// A file that keys are fetched with is not in order.
    #[error("keys of {issuer} cannot be fetched: {source}")]
    Keys {
        /// Whose keys.
        issuer: Box<str>,
        /// What is wrong.
        source: KeysError,
    },
    /// A thread could not be started.
    #[error("a thread cannot be started")]
    Background(#[from] crate::runtime::BackgroundError),
}
