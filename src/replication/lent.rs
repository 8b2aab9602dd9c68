//! Bytes of a blob whose file is bad and stays for now: from another node, an extent at a
//! time. Nothing of them is kept here.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::ahead::{Extent, Wanted, fly};
use super::blob_file::BlobFile;
use super::candidates::{candidates, is_live};
use super::content::ContentError;
use super::pace::SLOW_WAIT_MAX;
use super::replicator::Worker;
use crate::base::limits::EXTENT_BYTES;
use crate::base::units::{index_of, to_u64};
use crate::blob::Chunk;
use crate::metadata;
use crate::peer::PeerNode;
use crate::runtime::sleep;
use crate::transfer::TransferRequest;

/// Pause before nodes are asked again none of which gave an extent, or before memory
/// is asked for again.
const ASK_AGAIN_PERIOD: Duration = Duration::from_millis(100);

/// Reads a blob from other nodes. Every extent is held against its checksum in the
/// state before a byte of it is given out.
pub(super) struct Lent {
    worker: Rc<Worker>,
    file: BlobFile,
    size_bytes: u64,
    /// One for each extent.
    checksums: Vec<u32>,
    /// The extent read last, with its number.
    held: Option<(u64, Extent)>,
    /// The node that gave it: it is asked first.
    giver: Option<u64>,
    /// Nodes that gave something else.
    liars: BTreeSet<u64>,
}

impl Lent {
    /// `None` when the state does not know what the blob consists of.
    pub(super) fn begin(worker: &Rc<Worker>, file: &BlobFile, size_bytes: u64) -> Option<Self> {
        let view = worker.shared.journal().view();
        if !is_live(&view, file).ok()? {
            return None;
        }
        let checksums = metadata::extent_checksums(&view, &file.digest).ok()??;
        let extents = size_bytes.div_ceil(u64::from(EXTENT_BYTES));
        (to_u64(checksums.len()) == extents).then(|| Self {
            worker: Rc::clone(worker),
            file: *file,
            size_bytes,
            checksums,
            held: None,
            giver: None,
            liars: BTreeSet::new(),
        })
    }

    /// The next bytes from `position`, which is before `end`.
    ///
    /// - Errors: `Stalled` when no node gives them.
    pub(super) async fn next(&mut self, position: u64, end: u64) -> Result<Chunk, ContentError> {
        self.reach(position).await?;
        let extent_bytes = u64::from(EXTENT_BYTES);
        let mut skipped = index_of(position % extent_bytes);
        let (_, extent) = self.held.as_ref().ok_or(ContentError::Stalled)?;
        for piece in extent.pieces() {
            if skipped < piece.len() {
                let (_, rest) = piece.split_at(skipped);
                let count = rest.len().min(index_of(end - position));
                let (bytes, _) = rest.split_at(count);
                return Ok(self.worker.store.chunk(bytes).await);
            }
            skipped -= piece.len();
        }
        Err(ContentError::Stalled)
    }

    /// Has the extent here that has the byte at `position`.
    pub(super) async fn reach(&mut self, position: u64) -> Result<(), ContentError> {
        let number = position / u64::from(EXTENT_BYTES);
        if self.held.as_ref().is_some_and(|(held, _)| *held == number) {
            return Ok(());
        }
        self.held = None;
        let began = self.worker.clock.now();
        let patience = self.worker.shared.options().follow_timeout;
        loop {
            for node in self.nodes() {
                if let Some(extent) = self.ask(&node, number).await {
                    self.giver = Some(node.id);
                    self.held = Some((number, extent));
                    return Ok(());
                }
            }
            if self.worker.clock.now() - began > patience {
                return Err(ContentError::Stalled);
            }
            sleep(ASK_AGAIN_PERIOD).await;
        }
    }

    /// Nodes to ask, best first.
    fn nodes(&self) -> Vec<PeerNode> {
        let shared = &self.worker.shared;
        let peers = shared.peers().others(shared.options().node);
        let view = shared.journal().view();
        let all = candidates(&view, &peers, &self.file, self.giver);
        let honest = all.iter().filter(|node| !self.liars.contains(node));
        let known = honest.filter_map(|id| peers.iter().find(|peer| peer.node.id == *id));
        known.map(|peer| peer.node.clone()).collect()
    }

    /// An extent, if the node gives it and there is memory for it.
    async fn ask(&mut self, node: &PeerNode, number: u64) -> Option<Extent> {
        let BlobFile { digest, generation } = self.file;
        let offset = number * u64::from(EXTENT_BYTES);
        let bytes = u64::from(EXTENT_BYTES).min(self.size_bytes.saturating_sub(offset));
        let request = TransferRequest {
            digest,
            generation,
            offset,
            bytes,
        };
        let room = vec![Extent::try_new(&self.worker, bytes)?];
        let worker = Rc::clone(&self.worker);
        let wanted = Wanted {
            request,
            size_bytes: self.size_bytes,
            answer_limit: None,
            limit: SLOW_WAIT_MAX,
        };
        let flown = fly(worker, node.clone(), wanted, room).await;
        let extent = match flown {
            Ok(mut extents) => extents.pop()?,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(%digest, node = node.id, error, "a node does not lend a blob");
                return None;
            }
        };
        let mut checksum = crc32fast::Hasher::new();
        extent.pieces().for_each(|piece| checksum.update(piece));
        if self.checksums.get(index_of(number)) == Some(&checksum.finalize()) {
            return Some(extent);
        }
        tracing::error!(%digest, node = node.id, "a node lends something else under the digest");
        self.liars.insert(node.id);
        None
    }
}
