//! What every shard, and the raft core, share of replication.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::blob_file::BlobFile;
use super::letter::{Answer, Letter, Order, Want};
use super::options::Options;
use super::pace::JUDGED_TIME;
use super::peers::Peers;
use super::room::Room;
use crate::base::units::index_of;
use crate::peer::{PeerNode, Security};
use crate::raft::{BlobChange, Fill, Handle};
use crate::runtime::timeout;
use crate::telemetry::Metrics;

/// What replication is made of.
pub struct Parts {
    /// How it is to be done.
    pub options: Options,
    /// Data shards of this process, at least one.
    pub shards: u16,
    /// Consensus: the state that says what there is.
    pub journal: Handle,
    /// The other end of `raft::Options::blob_changes`.
    pub blob_changes: flume::Receiver<BlobChange>,
    /// `raft::Options::fill`.
    pub fill: Fill,
    /// The other nodes.
    pub peers: Peers,
    /// Whether the disk has room for more copies.
    pub room: Room,
    /// How nodes trust each other.
    pub security: Security,
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

/// The part of replication that every executor shares. Immutable and cheap to clone;
/// crosses threads. Made once, before the shards start.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    parts: Parts,
    letters: (flume::Sender<Letter>, flume::Receiver<Letter>),
    orders: Vec<(flume::Sender<Order>, flume::Receiver<Order>)>,
    /// Whether blobs may be missing that the plan has not heard of.
    is_unsure: AtomicBool,
    /// Bad files of blobs that other nodes have.
    disputed_files: AtomicU64,
}

impl Shared {
    /// Joins the parts. Nothing happens before a [`Replicator`](super::Replicator)
    /// runs on every shard.
    ///
    /// - Panics: without a shard.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        assert!(parts.shards > 0, "somebody must fetch");
        Self(Arc::new(Inner {
            letters: flume::unbounded(),
            orders: (0..parts.shards).map(|_| flume::unbounded()).collect(),
            is_unsure: AtomicBool::new(true),
            disputed_files: AtomicU64::new(0),
            parts,
        }))
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.parts.options
    }

    pub(super) fn journal(&self) -> &Handle {
        &self.0.parts.journal
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.0.parts.peers
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.parts.room.has_some()
    }

    pub(super) fn security(&self) -> &Security {
        &self.0.parts.security
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.parts.metrics
    }

    pub(super) fn blob_changes(&self) -> &flume::Receiver<BlobChange> {
        &self.0.parts.blob_changes
    }

    /// Blobs that the state has and this node lacks, or has as a bad file that another
    /// node is to replace; at least one until all of the state was looked at, and while
    /// changes of it wait.
    #[must_use]
    pub fn missing_count(&self) -> u64 {
        // In the order in which a change goes, so that it is seen in one of the three.
        let is_unsure = self.is_behind();
        let known = self.metrics().replication.missing_blobs.value();
        let missing = u64::try_from(known).unwrap_or(0) + self.disputed_count();
        missing.max(u64::from(is_unsure))
    }

    /// Whether what is counted leaves something out that the state has.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.blob_changes().is_empty() || self.0.is_unsure.load(Ordering::Acquire)
    }

    /// Whether files are bad here that will come from other nodes: they are missing as
    /// well as if they were not here.
    pub(super) fn has_disputed_files(&self) -> bool {
        self.disputed_count() > 0
    }

    fn disputed_count(&self) -> u64 {
        self.0.disputed_files.load(Ordering::Acquire)
    }

    /// Counts such a file, or does not any more.
    pub(super) fn dispute_file(&self, is_disputed: bool) {
        let files = &self.0.disputed_files;
        if is_disputed {
            files.fetch_add(1, Ordering::AcqRel);
        } else {
            files.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(super) fn fill(&self) -> &Fill {
        &self.0.parts.fill
    }

    /// Says whether the plan has heard of everything that is missing.
    pub(super) fn set_unsure(&self, is_unsure: bool) {
        self.0.is_unsure.store(is_unsure, Ordering::Release);
    }

    /// What the coordinator reads, and what writes to it.
    pub(super) fn letters(&self) -> &(flume::Sender<Letter>, flume::Receiver<Letter>) {
        &self.0.letters
    }

    /// What a shard reads.
    pub(super) fn orders_of(&self, shard: u16) -> flume::Receiver<Order> {
        let orders = self.0.orders.get(usize::from(shard));
        let (_, inbox) = orders.expect("caller: a shard that replication was made for");
        inbox.clone()
    }

    /// Sends an order to the shard that is for this blob, always the same one: it
    /// keeps what came of the blob from earlier sources.
    pub(super) fn order(&self, file: &BlobFile, order: Order) {
        let first = file.digest.as_bytes().first_chunk::<8>();
        let number = first.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let shard = index_of(number) % self.0.orders.len();
        if let Some((outbox, _)) = self.0.orders.get(shard) {
            // The receiver is kept here.
            drop(outbox.send(order));
        }
    }

    /// Asks the coordinator for a blob. `None` when there is no answer: the node is
    /// stopping, or looks for files on a disk that does not move.
    pub(super) async fn want(&self, want: Want) -> Option<Answer> {
        let (reply, answer) = flume::bounded(1);
        let letter = Letter::Want { want, reply };
        self.0.letters.0.send(letter).ok()?;
        let answered = timeout(self.options().follow_timeout, answer.recv_async());
        answered.await.ok()?.ok()
    }

    /// Asks the coordinator who else has a blob that is being fetched. Nobody, when it
    /// has no time: there is a source already.
    pub(super) async fn others(&self, file: BlobFile) -> Vec<PeerNode> {
        let (reply, answer) = flume::bounded(1);
        // Without a coordinator the process ends.
        drop(self.0.letters.0.send(Letter::Others { file, reply }));
        let answered = timeout(JUDGED_TIME, answer.recv_async());
        answered.await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.0.parts.options)
            .field("peers", &self.0.parts.peers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("options", &self.options)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
