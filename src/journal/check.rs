//! The full check of a log before anyone votes with it.

use bytes::Bytes;

use super::error::OpenError;
use super::mark::Mark;
use super::record::{self, Link};
use super::tail::Tail;

/// Walks the records of a log in order and remembers where it is.
#[derive(Debug)]
pub(super) struct Check {
    tail: Tail,
    next: u64,
    link: Link,
}

impl Check {
    /// Starts before the first record that is not purged.
    pub(super) const fn new(tail: Tail) -> Self {
        Self {
            tail,
            next: tail.first,
            link: tail.first_link,
        }
    }

    /// Checks the next record: right place, whole, continuing the one before.
    pub(super) fn record(&mut self, index: u64, sealed: &Bytes) -> Result<(), OpenError> {
        if index != self.next {
            return Err(OpenError::Gap {
                expected: self.next,
            });
        }
        let record = record::unseal(sealed).map_err(|source| OpenError::Damaged {
            what: "a record",
            source,
        })?;
        if record.index != index || record.previous != self.link {
            return Err(OpenError::Unchained { index });
        }
        self.next += 1;
        self.link = record.link;
        Ok(())
    }

    /// Checks that the log ends where its newest group and the mark say.
    pub(super) fn finish(self, vote: Option<&Bytes>, mark: Mark) -> Result<(), OpenError> {
        let tail = self.tail;
        if mark.group > tail.group {
            return Err(OpenError::SyncedLost {
                synced: mark.group,
                synced_next: mark.next,
                found: tail.group,
                found_next: self.next,
            });
        }
        if (self.next, self.link) != (tail.next, tail.link) {
            return Err(OpenError::WrongEnd {
                expected: tail.next,
                found: self.next,
            });
        }
        if mark.group == tail.group && mark != Mark::of(&tail) {
            return Err(OpenError::WrongEnd {
                expected: mark.next,
                found: tail.next,
            });
        }
        if vote.map_or(0, |vote| crc32fast::hash(vote)) != tail.vote {
            return Err(OpenError::WrongVote);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::group::Group;

    /// A log of `count` records: its tail and the sealed records.
    fn log(count: usize) -> (Tail, Vec<Bytes>) {
        let mut group = Group::after(Tail::EMPTY);
        group.append(0, &vec![Bytes::from_static(b"payload"); count]);
        let (changes, tail) = group.seal();
        let sealed = changes.into_iter().take(count);
        let sealed = sealed.map(|(_, value)| Bytes::from(value.unwrap()));
        (tail, sealed.collect())
    }

    fn verdict(tail: Tail, records: &[(u64, Bytes)], mark: Mark) -> Result<(), OpenError> {
        let mut check = Check::new(tail);
        for (index, sealed) in records {
            check.record(*index, sealed)?;
        }
        check.finish(None, mark)
    }

    fn numbered(sealed: &[Bytes]) -> Vec<(u64, Bytes)> {
        (0..).zip(sealed.iter().cloned()).collect()
    }

    #[test]
    fn a_whole_log_passes() {
        let (tail, sealed) = log(3);
        assert!(verdict(tail, &numbered(&sealed), Mark::of(&tail)).is_ok());
    }

    #[test]
    fn a_missing_record_is_found_wherever_it_was() {
        let (tail, sealed) = log(3);
        for missing in 0..3 {
            let mut records = numbered(&sealed);
            records.remove(missing);
            assert!(verdict(tail, &records, Mark::of(&tail)).is_err());
        }
    }

    #[test]
    fn a_lost_synced_group_is_found_and_an_unsynced_one_is_not() {
        let (newest, _) = log(3);
        let older = Tail::EMPTY;
        let synced = verdict(older, &[], Mark::of(&newest));
        assert!(matches!(synced, Err(OpenError::SyncedLost { .. })));
        assert!(verdict(older, &[], Mark::of(&older)).is_ok());
    }

    #[test]
    fn a_record_of_another_log_is_found() {
        let (tail, sealed) = log(3);
        let mut records = numbered(&sealed);
        let (other, _) = record::seal(1, 12345, b"payload");
        records[1].1 = Bytes::from(other);
        let found = verdict(tail, &records, Mark::of(&tail));
        assert!(matches!(found, Err(OpenError::Unchained { index: 1 })));
    }

    #[test]
    fn a_lost_vote_is_found() {
        let mut group = Group::after(Tail::EMPTY);
        group.save_vote(&Bytes::from_static(b"vote"));
        let (_, tail) = group.seal();
        let found = verdict(tail, &[], Mark::of(&tail));
        assert!(matches!(found, Err(OpenError::WrongVote)));
    }
}
