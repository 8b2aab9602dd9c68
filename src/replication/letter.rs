//! What the shards and the coordinator write to each other.

use std::sync::Arc;

use super::attempt::{Ended, Replaced, Urgency};
use super::blob_file::BlobFile;
use super::feed::{Feed, Listener};
use crate::blob::Expected;
use crate::peer::PeerNode;

/// To the coordinator.
///
/// - Shape: unbounded, because what is in it is bounded: one question for each request
///   or call, one `Unwant` for each answer, one `Ended` for each order and one `Others`
///   for each of its runs, one `Sound` for each file in doubt, one `Leaving` and one
///   `Settled` for each that is given up.
#[derive(Debug)]
pub(super) enum Letter {
    /// Somebody waits for a blob.
    Want {
        want: Want,
        reply: flume::Sender<Answer>,
    },
    /// Somebody waits no more.
    Unwant(BlobFile),
    /// A fetch has ended.
    Ended { file: BlobFile, how: Ended },
    /// A source of a fetch failed, and others go on.
    Replaced { file: BlobFile, who: Replaced },
    /// Who else has a blob that is being fetched?
    Others {
        file: BlobFile,
        reply: flume::Sender<Vec<PeerNode>>,
    },
    /// All bytes of a blob came from the node that receives it, and are being made
    /// durable. Its `Came` is due.
    Coming {
        file: BlobFile,
        size_bytes: u64,
        source: u64,
    },
    /// That has ended.
    Came { file: BlobFile, how: Ended },
    /// A file that failed before can be read.
    Sound(BlobFile),
    /// A shard is about to give a file up. From the answer on the state is not told that
    /// the file is here, and all that it was told before is written down. Its `Settled`
    /// is due.
    Leaving {
        file: BlobFile,
        reply: flume::Sender<()>,
    },
    /// That has ended.
    Settled { file: BlobFile, has_moved: bool },
}

/// A blob that somebody waits for.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) file: BlobFile,
    pub(super) size_bytes: u64,
    /// A node that certainly has it.
    pub(super) origin: Option<u64>,
    /// Its checksums, when the state may not have them yet.
    pub(super) extent_checksums: Option<Arc<[u32]>>,
}

impl Want {
    /// A blob that the state has.
    pub(super) const fn of(file: &BlobFile, size_bytes: u64) -> Self {
        Self {
            file: *file,
            size_bytes,
            origin: None,
            extent_checksums: None,
        }
    }
}

/// The coordinator's answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// The file is here, and durable.
    Here,
    /// It will come; so long as the interest is kept, with priority.
    Coming(Interest, Listener),
    /// Too many blobs are waited for.
    Busy,
    /// It is not here, and there is no room for it.
    NoRoom,
}

/// Keeps a blob wanted. Dropped, it is not any more.
#[derive(Debug)]
#[must_use = "dropped, the blob is not wanted any more"]
pub(super) struct Interest {
    pub(super) file: BlobFile,
    pub(super) letters: flume::Sender<Letter>,
}

impl Drop for Interest {
    fn drop(&mut self) {
        // Without a coordinator the process ends.
        drop(self.letters.send(Letter::Unwant(self.file)));
    }
}

/// To a shard.
#[derive(Debug)]
pub(super) enum Order {
    /// Fetch a blob. Its `Ended` is due.
    Fetch(Box<Fetch>),
    /// Forget a blob: nobody may read it any more.
    Forget(BlobFile),
}

/// One attempt at a blob.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) expected: Expected,
    pub(super) source: PeerNode,
    /// Others that have it, for a large one.
    pub(super) others: Vec<PeerNode>,
    /// Whether another source could take the place of a slow one.
    pub(super) has_others: bool,
    pub(super) urgency: Urgency,
    pub(super) feed: Feed,
}

impl Fetch {
    pub(super) const fn file(&self) -> BlobFile {
        BlobFile {
            digest: self.expected.digest,
            generation: self.expected.generation,
        }
    }
}
