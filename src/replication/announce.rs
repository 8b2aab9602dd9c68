//! Writes down which blobs this node holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::shared::Shared;
use crate::metadata::Command;
use crate::oci::Digest;
use crate::runtime::sleep;

/// Blobs that come within this time share an entry of the journal …
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// … as long as they are no more than this.
const BATCH_DIGESTS_MAX: usize = 1000;
/// First pause after a failed proposal; doubled by each one that follows …
const RETRY_MIN: Duration = Duration::from_millis(500);
/// … up to this: a proposal itself waits for a leader, and whoever removes a node waits
/// until this is done.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What the state should know of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) digest: Digest,
    /// Whether this node holds it.
    pub(super) is_here: bool,
}

/// What the queue carries.
#[derive(Debug)]
pub(super) enum Said {
    /// The state should know of it.
    Holds(Announced),
    /// Somebody is told when all that was said before is written down.
    Tell(flume::Sender<()>),
}

/// Proposes what comes through the queue, in batches. A proposal that fails is
/// repeated until it does not: what is not written down, nobody fetches from here.
///
/// - Shape: the queue is unbounded, and fed by what is bounded: the survey, which rests
///   while the queue is long, and one or two words for each blob that came, was pushed
///   or failed. While nothing can be committed nothing is pushed.
pub(super) async fn announce(shared: Shared, queue: flume::Receiver<Said>) {
    while let Ok(first) = queue.recv_async().await {
        if matches!(first, Said::Holds(_)) && queue.len() + 1 < BATCH_DIGESTS_MAX {
            sleep(BATCH_WAIT).await;
        }
        let rest = queue.try_iter().take(BATCH_DIGESTS_MAX - 1);
        let (mut waiting, mut count) = (Vec::new(), 0);
        let announced = std::iter::once(first).chain(rest);
        let announced = announced.filter_map(|said| match said {
            Said::Holds(announced) => {
                count += 1;
                Some(announced)
            }
            Said::Tell(reply) => {
                waiting.push(reply);
                None
            }
        });
        let (add, remove) = batch(announced);
        if !add.is_empty() || !remove.is_empty() {
            propose(&shared, (add, remove)).await;
        }
        shared.metrics().replication.unsaid_blobs.add(-count);
        for reply in waiting {
            // Nobody may wait for it any more.
            let _ = reply.send(());
        }
    }
}

/// Digests to add and to remove; what was said last of a blob counts.
fn batch(announced: impl Iterator<Item = Announced>) -> (Vec<Digest>, Vec<Digest>) {
    let last: BTreeMap<Digest, bool> = announced.map(|one| (one.digest, one.is_here)).collect();
    let digests = |is_here| {
        let chosen = last.iter().filter(move |(_, here)| **here == is_here);
        chosen.map(|(digest, _)| *digest).collect()
    };
    (digests(true), digests(false))
}

async fn propose(shared: &Shared, (add, remove): (Vec<Digest>, Vec<Digest>)) {
    let node = shared.options().node;
    let command = Command::Holders { node, add, remove };
    let mut pause = RETRY_MIN;
    while let Err(error) = shared.journal().propose(command.clone()).await {
        tracing::debug!(%error, "holders could not be written down");
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn what_is_said_last_of_a_blob_counts() {
        let digest = |number: u8| Digest::of(Algorithm::Sha256, &[number]);
        let said = [(1, true), (2, false), (1, false), (2, true), (3, true)];
        let said = said.map(|(number, is_here)| Announced {
            digest: digest(number),
            is_here,
        });
        let (mut add, remove) = batch(said.into_iter());
        add.sort_unstable();
        let mut expected = vec![digest(2), digest(3)];
        expected.sort_unstable();
        assert_eq!((add, remove), (expected, vec![digest(1)]));
    }
}
