//! Extents that come from another node before their turn, and wait in memory.

use std::rc::Rc;
use std::time::Duration;

use super::fetch::FetchError;
use super::replicator::Worker;
use super::share::{Held, Holding};
use crate::base::limits::MOVE_BYTES_MAX;
use crate::base::units::{index_of, to_u64};
use crate::memory::Buffer;
use crate::peer::PeerNode;
use crate::runtime::timeout;
use crate::transfer::{Incoming, TransferError, TransferRequest};

/// Memory for one extent: whole moves, because no buffer is larger.
pub(super) struct Extent {
    buffers: Vec<Buffer>,
    bytes: u64,
    _held: Held,
}

impl Extent {
    /// Memory for `bytes`, now or not at all: who holds some of what others need must
    /// not wait for more.
    pub(super) fn try_new(worker: &Worker, bytes: u64) -> Option<Self> {
        let held = worker.share.take(Holding::Ahead)?;
        let count = bytes.div_ceil(u64::from(MOVE_BYTES_MAX));
        let buffers = (0..count).map(|_| worker.store.try_buffer(MOVE_BYTES_MAX));
        Some(Self {
            buffers: buffers.collect::<Option<_>>()?,
            bytes,
            _held: held,
        })
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its bytes, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = index_of(self.bytes);
        self.buffers.iter().map(move |buffer| {
            let count = left.min(buffer.len());
            left -= count;
            buffer.split_at(count).0
        })
    }

    /// Room for its bytes, in order.
    fn rooms(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let mut left = index_of(self.bytes);
        self.buffers.iter_mut().map(move |buffer| {
            let count = left.min(buffer.len());
            left -= count;
            buffer.split_at_mut(count).0
        })
    }
}

/// What is to come ahead.
pub(super) struct Wanted {
    pub(super) request: TransferRequest,
    /// Of the whole blob.
    pub(super) size_bytes: u64,
    /// How long the node may take to answer, where that matters.
    pub(super) answer_limit: Option<Duration>,
    /// How long it may take once the node has answered: how far away that is, is not
    /// held against it.
    pub(super) limit: Duration,
}

/// Fills extents from a node.
pub(super) async fn fly(
    worker: Rc<Worker>,
    node: PeerNode,
    wanted: Wanted,
    mut extents: Vec<Extent>,
) -> Result<Vec<Extent>, FetchError> {
    let asking = worker.transfers.fetch(&node, &wanted.request);
    let mut incoming = match wanted.answer_limit {
        None => asking.await?,
        Some(limit) => timeout(limit, asking)
            .await
            .map_err(|_| FetchError::Silent)??,
    };
    let found_bytes = incoming.size();
    if found_bytes != wanted.size_bytes {
        return Err(FetchError::Size {
            size_bytes: wanted.size_bytes,
            found_bytes,
        });
    }
    let filling = fill(&worker, node.id, &mut incoming, &mut extents);
    let filling = timeout(wanted.limit, filling).await;
    filling.unwrap_or(Err(FetchError::Outdone))?;
    Ok(extents)
}

async fn fill(
    worker: &Worker,
    node: u64,
    incoming: &mut Incoming,
    extents: &mut [Extent],
) -> Result<(), FetchError> {
    let metrics = &worker.shared.metrics().replication;
    for room in extents.iter_mut().flat_map(Extent::rooms) {
        let mut filled = 0;
        while filled < room.len() {
            let count = incoming.read(room.split_at_mut(filled).1).await?;
            if count == 0 {
                // No more was announced than asked for, and no less.
                return Err(TransferError::WrongRange.into());
            }
            metrics.received(node, to_u64(count));
            filled += count;
        }
    }
    Ok(())
}
