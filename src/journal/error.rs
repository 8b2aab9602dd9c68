//! What can go wrong when the journal is opened, read or written.

use std::io;
use std::path::PathBuf;

use crate::base::CodecError;

/// Why the journal does not open. All but the first two mean that something
/// synced is damaged or missing: the node must not vote with such a log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder of the journal cannot be used.
    #[error("{operation} {}", path.display())]
    Files {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A database refuses to open or to be read.
    #[error("the {database} database in {} is unusable", path.display())]
    Database {
        /// `log` or `state`.
        database: &'static str,
        /// Its folder.
        path: PathBuf,
        /// What fjall says.
        source: fjall::Error,
    },
    /// A database panicked on what it read.
    #[error("the {database} database in {} is damaged beyond reading", path.display())]
    Panicked {
        /// `log` or `state`.
        database: &'static str,
        /// Its folder.
        path: PathBuf,
    },
    /// There is a log but no mark, or neither slot of the mark is readable.
    #[error("{} is missing or damaged; what was synced cannot be checked", path.display())]
    MarkLost {
        /// The mark file.
        path: PathBuf,
    },
    /// A record, the tail or the vote is not what was written.
    #[error("{what} of the log is damaged")]
    Damaged {
        /// Which part.
        what: &'static str,
        /// How that shows.
        source: CodecError,
    },
    /// A journal file of a database that was synced whole is not whole.
    #[error("{} is damaged at byte {whole_bytes}", path.display())]
    SealedDamaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        whole_bytes: u64,
    },
    /// The records do not follow each other.
    #[error("the log has no record {expected} where one must be")]
    Gap {
        /// Index that is missing.
        expected: u64,
    },
    /// A record does not continue the one before it.
    #[error("record {index} of the log does not continue the one before it")]
    Unchained {
        /// Index of the record.
        index: u64,
    },
    /// The log ends elsewhere than its own newest group says.
    #[error("the log ends before record {found}, its newest group says before {expected}")]
    WrongEnd {
        /// Index after the last record, as the tail has it.
        expected: u64,
        /// Index after the last record found.
        found: u64,
    },
    /// The vote is not the one of the newest group.
    #[error("the vote is not the one that was last synced")]
    WrongVote,
    /// Groups that were synced are gone.
    #[error(
        "the log was synced up to group {synced} (record {synced_next}) but holds only {found} \
         (record {found_next})"
    )]
    SyncedLost {
        /// Newest synced group according to the mark.
        synced: u64,
        /// Index after its last record.
        synced_next: u64,
        /// Newest group found.
        found: u64,
        /// Index after its last record.
        found_next: u64,
    },
    /// The applied state lacks records that the log no longer has.
    #[error("state needs records from {needed} on, the log starts at {first}")]
    StateBehind {
        /// First index that is not applied.
        needed: u64,
        /// First index in the log.
        first: u64,
    },
}

/// Why an operation on an open journal did not happen.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// An earlier write or sync failed; the journal takes nothing any more.
    #[error("the journal failed earlier")]
    Poisoned,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The database failed.
    #[error("{operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// What fjall says.
        source: fjall::Error,
    },
    /// What was read is not what was written.
    #[error("{what} is damaged")]
    Damaged {
        /// Which part.
        what: &'static str,
        /// How that shows.
        source: CodecError,
    },
    /// A record is missing between two others.
    #[error("record {index} is missing from the log")]
    Missing {
        /// Its index.
        index: u64,
    },
    /// A file beside the databases failed.
    #[error("{operation}")]
    File {
        /// What was being done.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
}
