//! Files that failed and stay, because no other node is known to hold the blob.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::blob_file::BlobFile;
use super::plan::doubled;
use super::replicator::Worker;
use crate::runtime::sleep;

/// A file that failed is not asked about again for so long, whoever reads it: every
/// question is an entry of the journal.
const DOUBT_REST: Duration = Duration::from_secs(5);
/// The only file of a blob is read again after this time at most; after as long as a
/// doubt rests at first, and twice as long each time.
const READ_REST_MAX: Duration = Duration::from_secs(5 * 60);
/// Files that one shard remembers; beyond, a failed one is looked at again when it is
/// read again.
const DOUBTS_MAX: usize = 1024;

/// Files that cannot be read, and when to look again. One for each shard.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<BlobFile, Doubt>);

#[derive(Debug)]
struct Doubt {
    rests_until: Instant,
    /// Whether the journal was asked.
    is_asked: bool,
    /// How often it was read though no other node has the blob, and when it may be again.
    reads: u32,
    read_due: Instant,
}

impl Doubts {
    /// A file that failed stays in service.
    fn note(&mut self, file: BlobFile, is_asked: bool, now: Instant) -> bool {
        let is_new = !self.has(&file);
        if is_new && self.0.len() >= DOUBTS_MAX {
            return false;
        }
        let doubt = self.0.entry(file).or_insert(Doubt {
            rests_until: now,
            is_asked,
            reads: 0,
            read_due: now,
        });
        doubt.rests_until = now + DOUBT_REST;
        doubt.is_asked = is_asked;
        is_new
    }

    /// Whether it is too soon to ask about it again.
    pub(super) fn is_resting(&self, file: &BlobFile, now: Instant) -> bool {
        self.0
            .get(file)
            .is_some_and(|doubt| now < doubt.rests_until)
    }

    /// Whether the journal said no, or nothing.
    pub(super) fn is_asked(&self, file: &BlobFile) -> bool {
        self.0.get(file).is_some_and(|doubt| doubt.is_asked)
    }

    /// Whether it is in doubt.
    pub(super) fn has(&self, file: &BlobFile) -> bool {
        self.0.contains_key(file)
    }

    /// Whether it may be read now though no other node has the blob, which is counted.
    pub(super) fn may_read(&mut self, file: &BlobFile, now: Instant) -> bool {
        let Some(doubt) = self.0.get_mut(file) else {
            return true;
        };
        if now < doubt.read_due {
            return false;
        }
        doubt.reads = doubt.reads.saturating_add(1);
        doubt.read_due = now + doubled(DOUBT_REST, doubt.reads, READ_REST_MAX);
        true
    }

    /// Those that have rested.
    fn due(&self, now: Instant) -> Vec<BlobFile> {
        let due = self.0.iter().filter(|(_, doubt)| doubt.rests_until <= now);
        due.map(|(file, _)| *file).collect()
    }
}

impl Worker {
    /// A file that failed stays in service, whether or not the journal was asked.
    pub(super) fn doubt(&self, file: &BlobFile, is_asked: bool) {
        let now = self.clock.now();
        let mut doubts = self.doubts.borrow_mut();
        let was_asked = doubts.is_asked(file);
        if doubts.note(*file, is_asked, now) {
            self.shared.metrics().replication.doubtful_files.rise();
        }
        // The journal is asked where others have the blob.
        let is_asked = doubts.is_asked(file);
        if is_asked != was_asked {
            self.shared.dispute_file(is_asked);
        }
    }

    /// A file has gone, or is as good as any other.
    pub(super) fn trust(&self, file: &BlobFile) {
        if let Some(doubt) = self.doubts.borrow_mut().0.remove(file) {
            self.shared.metrics().replication.doubtful_files.fall();
            if doubt.is_asked {
                self.shared.dispute_file(false);
            }
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
        assert!(doubts.note(file(0), true, clock.now()));
        assert!(doubts.is_resting(&file(0), clock.now()));
        assert!(doubts.due(clock.now()).is_empty());
        clock.advance(DOUBT_REST);
        assert!(!doubts.is_resting(&file(0), clock.now()));
        assert_eq!(doubts.due(clock.now()), [file(0)]);
        assert!(!doubts.note(file(0), true, clock.now()), "it is known");
        assert!(doubts.may_read(&file(0), clock.now()));
        assert!(!doubts.may_read(&file(0), clock.now()));
        assert!(doubts.is_resting(&file(0), clock.now()));
        for number in 1..DOUBTS_MAX {
            assert!(doubts.note(file(number), true, clock.now()));
        }
        assert!(!doubts.note(file(DOUBTS_MAX), true, clock.now()));
        assert!(!doubts.has(&file(DOUBTS_MAX)));
    }
}
