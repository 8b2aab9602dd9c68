//! Files that failed and stay, because no other node is known to hold the blob.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::blob_file::BlobFile;
use super::replicator::Worker;
use crate::runtime::sleep;

/// A file that failed is not asked about again for so long, whoever reads it: every
/// question is an entry of the journal.
const DOUBT_REST: Duration = Duration::from_secs(5);
/// Files that one shard remembers; beyond, a failed one is looked at again when it is
/// read again.
const DOUBTS_MAX: usize = 1024;

/// Files that cannot be read, and when to look again. One for each shard.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<BlobFile, Instant>);

impl Doubts {
    /// A file that failed stays in service.
    fn note(&mut self, file: BlobFile, now: Instant) -> bool {
        let is_new = !self.has(&file);
        if is_new && self.0.len() >= DOUBTS_MAX {
            return false;
        }
        self.0.insert(file, now + DOUBT_REST);
        is_new
    }

    /// Whether it is too soon to ask about it again.
    pub(super) fn is_resting(&self, file: &BlobFile, now: Instant) -> bool {
        self.0.get(file).is_some_and(|until| now < *until)
    }

    /// Whether it is in doubt.
    pub(super) fn has(&self, file: &BlobFile) -> bool {
        self.0.contains_key(file)
    }

    /// Those that have rested.
    fn due(&self, now: Instant) -> Vec<BlobFile> {
        let due = self.0.iter().filter(|(_, until)| **until <= now);
        due.map(|(file, _)| *file).collect()
    }
}

impl Worker {
    /// A file that failed stays in service.
    pub(super) fn doubt(&self, file: &BlobFile) {
        let now = self.clock.now();
        if self.doubts.borrow_mut().note(*file, now) {
            self.shared.metrics().replication.doubtful_files.rise();
        }
    }

    /// A file has gone, or is as good as any other.
    pub(super) fn trust(&self, file: &BlobFile) {
        if self.doubts.borrow_mut().0.remove(file).is_some() {
            self.shared.metrics().replication.doubtful_files.fall();
        }
    }
}

/// Looks again at files that failed, one after another. A task of the shard.
pub(super) async fn look_again(worker: Rc<Worker>) {
    loop {
        sleep(DOUBT_REST).await;
        let due = worker.doubts.borrow().due(worker.clock.now());
        for file in due {
            if worker.is_settled(&file).await {
                worker.trust(&file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::oci::{Algorithm, Digest};

    fn file(number: usize) -> BlobFile {
        BlobFile {
            digest: Digest::of(Algorithm::Sha256, &number.to_le_bytes()),
            generation: 1,
        }
    }

    #[test]
    fn a_file_rests_before_it_is_due_and_there_are_so_many_at_most() {
        let clock = Clock::hand_moved();
        let mut doubts = Doubts::default();
        assert!(doubts.note(file(0), clock.now()));
        assert!(doubts.is_resting(&file(0), clock.now()));
        assert!(doubts.due(clock.now()).is_empty());
        clock.advance(DOUBT_REST);
        assert!(!doubts.is_resting(&file(0), clock.now()));
        assert_eq!(doubts.due(clock.now()), [file(0)]);
        assert!(!doubts.note(file(0), clock.now()), "it is known");
        assert!(doubts.is_resting(&file(0), clock.now()));
        for number in 1..DOUBTS_MAX {
            assert!(doubts.note(file(number), clock.now()));
        }
        assert!(!doubts.note(file(DOUBTS_MAX), clock.now()));
        assert!(!doubts.has(&file(DOUBTS_MAX)));
    }
}
