//! Sends shards off to fetch: which blob, from whom, and who may help.

use std::sync::Arc;
use std::time::Instant;

use super::attempt::{Ended, Start};
use super::blob_file::BlobFile;
use super::candidates::{candidates, is_live};
use super::coordinator::Coordinator;
use super::letter::{Fetch, Order};
use super::peers::Peer;
use crate::base::limits::EXTENT_BYTES;
use crate::blob::Expected;
use crate::metadata;
use crate::peer::PeerNode;
use crate::raft::StateView;
use crate::telemetry::FetchFailure;

/// From this size on a blob may come from several sources: below, one of them has
/// brought it before another one could help.
pub(super) const SEVERAL_BYTES_MIN: u64 = 12 * EXTENT_BYTES as u64;

impl Coordinator {
    /// Sends off every fetch that may begin.
    pub(super) fn dispatch(&mut self) {
        let shared = self.worker.shared.clone();
        let mut known: Option<(StateView, Vec<Peer>)> = None;
        if self.plan.is_waiting() && !shared.has_room() {
            self.plan.rest(self.worker.clock.now());
        }
        loop {
            let now = self.worker.clock.now();
            let entries = &self.entries;
            let start = self.plan.next(now, |file| {
                let (view, peers) = known.get_or_insert_with(|| {
                    let peers = shared.peers().others(shared.options().node);
                    (shared.journal().view(), peers)
                });
                let origin = entries.get(file).and_then(|entry| entry.origin);
                candidates(view, peers, file, origin)
            });
            let Some((start, (view, peers))) = start.zip(known.as_ref()) else {
                return;
            };
            match self.order(&start, view, peers) {
                Some(fetch) => shared.order(&start.file, Order::Fetch(fetch)),
                None => self.unfit(view, &start.file, now),
            }
        }
    }

    fn order(&self, start: &Start, view: &StateView, peers: &[Peer]) -> Option<Box<Fetch>> {
        let BlobFile { digest, generation } = start.file;
        let entry = self.entries.get(&start.file)?;
        let source = peers.iter().find(|peer| peer.node.id == start.source)?;
        let checksums = match &entry.extent_checksums {
            Some(checksums) => Some(Arc::clone(checksums)),
            None if is_live(view, &start.file).ok()? => {
                let known = metadata::extent_checksums(view, &digest);
                known.ok().flatten().map(Arc::from)
            }
            None => None,
        };
        let expected = Expected {
            digest,
            generation,
            size_bytes: entry.size_bytes,
            extent_checksums: checksums?,
        };
        let is_large = expected.size_bytes >= SEVERAL_BYTES_MIN;
        let others = is_large.then(|| self.others(&start.file, view, peers));
        expected.is_consistent().then(|| {
            Box::new(Fetch {
                expected,
                source: source.node.clone(),
                others: others.unwrap_or_default(),
                has_others: candidates(view, peers, &start.file, entry.origin).len() > 1,
                urgency: start.urgency,
                feed: entry.feed.clone(),
            })
        })
    }

    /// Further sources of a blob that is being fetched.
    pub(super) fn others(
        &self,
        file: &BlobFile,
        view: &StateView,
        peers: &[Peer],
    ) -> Vec<PeerNode> {
        let origin = self.entries.get(file).and_then(|entry| entry.origin);
        let all = candidates(view, peers, file, origin);
        let others = self.plan.others(file, &all, self.worker.clock.now());
        let nodes = peers.iter().map(|peer| &peer.node);
        let find = |id| nodes.clone().find(|node| node.id == id).cloned();
        others.into_iter().filter_map(find).collect()
    }

    /// A blob that cannot be fetched: the state does not have it any more, which a
    /// snapshot does not tell, or knows no checksums that fit.
    fn unfit(&mut self, view: &StateView, file: &BlobFile, now: Instant) {
        if matches!(is_live(view, file), Ok(false)) {
            self.plan.remove(*file);
            self.plan.ended(*file, Ended::GivenUp, now);
        } else {
            tracing::error!(digest = %file.digest, "the state knows no checksums of a blob");
            let metrics = &self.worker.shared.metrics().replication;
            metrics.failed(0, FetchFailure::Record);
            let unasked = Ended::SourceBusy { has_moved: false };
            self.plan.ended(*file, unasked, now);
        }
        self.tidy(file);
    }
}
