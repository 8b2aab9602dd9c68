//! Turns waiting operations into one batch of changes. Pure: what a group does
//! is decided here, the thread only carries it out.

use bytes::Bytes;

use super::options::PURGE_RECORDS_MAX;
use super::record::{self, Link, NO_LINK};
use super::tail::Tail;

/// Key of the tail.
pub(super) const TAIL_KEY: &[u8] = b"mtail";
/// Key of the vote.
pub(super) const VOTE_KEY: &[u8] = b"mvote";
/// Key of the last purged record's identity.
pub(super) const PURGED_KEY: &[u8] = b"mpurged";
/// Key of the last known committed record's identity.
pub(super) const COMMITTED_KEY: &[u8] = b"mcommitted";

/// What the journal thread is asked to do, in order.
#[derive(Debug)]
pub(super) enum Operation {
    /// Adds records from index `first` on. Synced.
    Append { first: u64, payloads: Vec<Bytes> },
    /// Replaces the vote. Synced.
    SaveVote { vote: Bytes },
    /// Replaces the committed mark. Rides with the next synced group.
    SaveCommitted { committed: Bytes },
    /// Removes the records from index `next` on.
    Truncate { next: u64 },
    /// Forgets the records before index `first`; `id` names the last of them.
    Purge { first: u64, id: Bytes },
    /// Leaves everything synced and the mark exact, and ends the thread.
    Close,
}

impl Operation {
    /// Whether the group that holds it must be synced before it is acknowledged.
    pub(super) const fn is_synced(&self) -> bool {
        // What was cut must not come back after a power cut: the state may go on past it.
        matches!(
            self,
            Self::Append { .. } | Self::SaveVote { .. } | Self::Truncate { .. }
        )
    }

    /// Whether it shares no batch. A deletion does not: one batch gives all its
    /// changes one sequence number, so a record must not be deleted and written
    /// in the same one.
    pub(super) const fn is_alone(&self) -> bool {
        matches!(
            self,
            Self::Truncate { .. } | Self::Purge { .. } | Self::Close
        )
    }

    /// Payload bytes it carries.
    pub(super) fn payload_bytes(&self) -> usize {
        match self {
            Self::Append { payloads, .. } => payloads.iter().map(Bytes::len).sum(),
            _ => 0,
        }
    }
}

/// One change of the log database: a key and its value, `None` to delete it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// The batch under construction, and the tail as it will be after it.
#[derive(Debug)]
pub(super) struct Group {
    pub tail: Tail,
    pub changes: Vec<Change>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
}

impl Group {
    /// An empty group that continues `tail`.
    pub(super) const fn after(tail: Tail) -> Self {
        let mut tail = tail;
        tail.group += 1;
        Self {
            tail,
            changes: Vec::new(),
            vote: None,
            committed: None,
        }
    }

    /// Adds records.
    ///
    /// - Panics: when `first` leaves a gap; raft appends in order.
    pub(super) fn append(&mut self, first: u64, payloads: &[Bytes]) {
        let is_fresh = self.tail.next == 0 && self.tail.first == 0;
        if is_fresh && first > 0 {
            self.tail.floor = first;
            self.tail.first = first;
            self.tail.next = first;
        }
        assert!(first == self.tail.next, "records are appended in order");
        for payload in payloads {
            let (sealed, link) = record::seal(self.tail.next, self.tail.link, payload);
            let key = record::key(self.tail.next);
            self.changes.push((key, Some(sealed)));
            self.tail.link = link;
            self.tail.next += 1;
        }
    }

    /// Replaces the vote.
    pub(super) fn save_vote(&mut self, vote: &Bytes) {
        self.tail.vote = crc32fast::hash(vote);
        self.vote = Some(vote.clone());
    }

    /// Replaces the committed mark.
    pub(super) fn save_committed(&mut self, committed: &Bytes) {
        self.committed = Some(committed.clone());
    }

    /// Removes records from the end; `link` is the checksum of the last that stays.
    pub(super) fn truncate(&mut self, next: u64, link: Link) {
        for index in next..self.tail.next {
            self.changes.push((record::key(index), None));
        }
        self.tail.next = next;
        self.tail.link = link;
    }

    /// Moves the start of the log; `link` is the checksum of the last purged
    /// record, [`NO_LINK`] when the log never had it.
    pub(super) fn purge(&mut self, first: u64, link: Link, id: &Bytes) {
        self.changes.push((PURGED_KEY.to_vec(), Some(id.to_vec())));
        if first > self.tail.next {
            self.tail.next = first;
            self.tail.link = NO_LINK;
        }
        self.tail.first = first;
        self.tail.first_link = link;
    }

    /// Deletes a bounded number of purged records.
    pub(super) fn sweep(&mut self) {
        let end = (self.tail.floor + PURGE_RECORDS_MAX).min(self.tail.first);
        for index in self.tail.floor..end {
            self.changes.push((record::key(index), None));
        }
        self.tail.floor = end;
    }

    /// Ends the group: the changes in the order they are written, tail last.
    pub(super) fn seal(self) -> (Vec<Change>, Tail) {
        let mut changes = self.changes;
        let saved = [(VOTE_KEY, self.vote), (COMMITTED_KEY, self.committed)];
        for (key, value) in saved {
            changes.extend(value.map(|value| (key.to_vec(), Some(value.to_vec()))));
        }
        changes.push((TAIL_KEY.to_vec(), Some(self.tail.encode())));
        (changes, self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(count: usize) -> Vec<Bytes> {
        vec![Bytes::from_static(b"x"); count]
    }

    #[test]
    fn a_group_chains_its_records_and_ends_with_the_tail() {
        let mut group = Group::after(Tail::EMPTY);
        group.append(0, &payloads(2));
        group.save_vote(&Bytes::from_static(b"v1"));
        group.save_vote(&Bytes::from_static(b"v2"));
        let (changes, tail) = group.seal();
        assert_eq!((tail.group, tail.first, tail.next), (1, 0, 2));
        assert_eq!(tail.vote, crc32fast::hash(b"v2"));
        let keys: Vec<&[u8]> = changes.iter().map(|(key, _)| key.as_slice()).collect();
        let records = [record::key(0), record::key(1)];
        let expected = [records[0].as_slice(), &records[1], VOTE_KEY, TAIL_KEY];
        assert_eq!(keys, expected);
        let sealed = |at: usize| Bytes::from(changes[at].1.clone().unwrap());
        let second = record::unseal(&sealed(1)).unwrap();
        assert_eq!(second.previous, record::unseal(&sealed(0)).unwrap().link);
        assert_eq!(second.link, tail.link);
    }

    #[test]
    fn the_first_record_may_have_any_index() {
        let mut group = Group::after(Tail::EMPTY);
        group.append(5, &payloads(1));
        let (_, tail) = group.seal();
        assert_eq!((tail.floor, tail.first, tail.next), (5, 5, 6));
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn a_gap_is_refused() {
        let mut group = Group::after(Tail::EMPTY);
        group.append(0, &payloads(1));
        group.append(2, &payloads(1));
    }

    #[test]
    fn a_purge_beyond_the_end_moves_the_end() {
        let mut group = Group::after(Tail::EMPTY);
        group.append(0, &payloads(3));
        group.purge(10, NO_LINK, &Bytes::from_static(b"id"));
        group.sweep();
        let (_, tail) = group.seal();
        assert_eq!((tail.floor, tail.first, tail.next), (10, 10, 10));
        assert_eq!((tail.link, tail.first_link), (NO_LINK, NO_LINK));
    }
}
