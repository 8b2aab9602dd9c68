//! Copies of blobs that the state has already: counted, and made where too few voters
//! hold one. A push that links such a blob anew promises as much as one that brings it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blob_file::BlobFile;
use super::hold::{HoldError, ask_all, voters};
use super::message::NOBODY_ID;
use super::replicator::{Replicator, Worker};
use crate::blob::Expected;
use crate::metadata;
use crate::oci::Digest;
use crate::peer::PeerNode;
use crate::runtime::timeout;

/// What nodes said of a blob is believed for so long: an election and some batches
/// later the state says it.
const TOLD_LIFE: Duration = Duration::from_secs(30);
/// Blobs of which that is kept, about 200 bytes each; of others they are asked again.
const TOLD_BLOBS_MAX: usize = 1024;

/// Nodes that hold a blob and said so to this shard, before the state does.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<BlobFile, (Instant, Vec<u64>)>);

impl Told {
    /// Notes that `nodes` hold a blob.
    pub(super) fn note(&mut self, file: BlobFile, nodes: &[u64], now: Instant) {
        if self.0.len() >= TOLD_BLOBS_MAX {
            self.0.retain(|_, (until, _)| now < *until);
        }
        if self.0.len() < TOLD_BLOBS_MAX || self.0.contains_key(&file) {
            self.0.insert(file, (now + TOLD_LIFE, nodes.to_vec()));
        }
    }

    fn of(&self, file: &BlobFile, now: Instant) -> Vec<u64> {
        let told = self.0.get(file).filter(|(until, _)| now < *until);
        told.map_or_else(Vec::new, |(_, nodes)| nodes.clone())
    }
}

/// A blob as the state has it, and who holds its file.
struct Known {
    file: BlobFile,
    size_bytes: u64,
    is_inline: bool,
    holders: Vec<u64>,
}

impl Replicator {
    /// Returns when `copies` voters hold a blob that the state has, this node included
    /// if it `votes`; says whether the state has it. Costs some reads of the state where
    /// it says so itself.
    ///
    /// - Errors: as [`Replicator::hold_elsewhere`].
    /// - Cancel: the others go on with what they began.
    pub async fn hold_known(
        &self,
        digest: &Digest,
        copies: usize,
        votes: bool,
    ) -> Result<bool, HoldError> {
        let worker = self.worker();
        let Some(known) = known(worker, digest) else {
            return Ok(false);
        };
        if known.is_inline {
            return Ok(true);
        }
        let voters = voters(worker, digest);
        let is_counted = |node: &u64| {
            let is_other = voters.iter().any(|voter| voter.id == *node);
            is_other || (votes && *node == self.node())
        };
        let told = worker.told.borrow().of(&known.file, worker.clock.now());
        let more = told.iter().filter(|node| !known.holders.contains(node));
        let nodes = known.holders.iter().chain(more).copied();
        let held: Vec<u64> = nodes.filter(is_counted).collect();
        if held.len() < copies {
            self.spread(known, voters, held, (copies, votes)).await?;
        }
        Ok(true)
    }

    /// Has a blob copied to `voters`, and here, until `copies` have it.
    async fn spread(
        &self,
        known: Known,
        mut voters: VecDeque<PeerNode>,
        mut held: Vec<u64>,
        (copies, votes): (usize, bool),
    ) -> Result<(), HoldError> {
        let (worker, own) = (self.worker(), self.node());
        let BlobFile { digest, generation } = known.file;
        let is_here = held.contains(&own) || {
            let here = worker
                .store
                .is_durable(&digest, generation, known.size_bytes);
            here.await.unwrap_or_else(|error| {
                tracing::error!(%error, %digest, "a blob cannot be looked for");
                false
            })
        };
        if votes && is_here && !held.contains(&own) {
            held.push(own);
        }
        voters.retain(|node| !held.contains(&node.id));
        if votes && !is_here {
            voters.push_front(PeerNode {
                id: own,
                address: "".into(),
            });
        }
        let expected = Expected {
            digest,
            generation,
            size_bytes: known.size_bytes,
            extent_checksums: checksums(worker, &digest),
        };
        let limit = worker.shared.options().hold_limit(known.size_bytes);
        let origin = if is_here { own } else { NOBODY_ID };
        let expected = (origin, expected);
        let asking = Box::pin(ask_all(worker, voters, expected, copies, &mut held));
        // What was reached by then counts.
        let _ = timeout(limit, asking).await;
        let now = worker.clock.now();
        worker.told.borrow_mut().note(known.file, &held, now);
        if held.len() < copies {
            return Err(HoldError {
                wanted: copies,
                held,
            });
        }
        Ok(())
    }
}

fn known(worker: &Worker, digest: &Digest) -> Option<Known> {
    let view = worker.shared.journal().view();
    let read = || -> Result<_, metadata::StateError> {
        let record = metadata::blob(&view, digest)?;
        let Some(record) = record.filter(metadata::BlobRecord::is_live) else {
            return Ok(None);
        };
        Ok(Some(Known {
            file: BlobFile {
                digest: *digest,
                generation: record.generation,
            },
            size_bytes: record.size_bytes,
            is_inline: record.is_inline,
            holders: metadata::holders(&view, digest)?,
        }))
    };
    read().unwrap_or_else(|error| {
        // Whoever asked reads the same state, and answers for it.
        tracing::error!(%error, "the applied state cannot be read");
        None
    })
}

/// The checksums of a blob; none that fit, when the state does not say.
fn checksums(worker: &Worker, digest: &Digest) -> Arc<[u32]> {
    let view = worker.shared.journal().view();
    let known = metadata::extent_checksums(&view, digest);
    let known = known.unwrap_or_else(|error| {
        tracing::error!(%error, "the applied state cannot be read");
        None
    });
    known.unwrap_or_default().into()
}

#[cfg(test)]
#[path = "spread_test.rs"]
mod tests;
