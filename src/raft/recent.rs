//! The newest entries in memory: readable before they are on disk.

use std::collections::VecDeque;

use crate::base::units::to_u64;

use super::types::Entry;

/// Bytes of entries kept after they are flushed, for the state machine and for
/// followers that keep up.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes counted for an entry beside its payload.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Consecutive entries at the end of the log. Entries that are not flushed are
/// never dropped; of the others only as many stay as fit the bound.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl Recent {
    /// Index of the first entry held, `None` when empty.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.log_id.index)
    }

    /// Adds the entry after the last one; `payload_bytes` is its encoded size.
    pub(super) fn push(&mut self, entry: Entry, payload_bytes: usize) {
        let bytes = payload_bytes + ENTRY_OVERHEAD_BYTES;
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
    }

    /// Drops the entries before index `flushed_next` that the bound does not cover.
    pub(super) fn evict(&mut self, flushed_next: u64) {
        while self.bytes > RECENT_BYTES_MAX
            && self.first().is_some_and(|first| first < flushed_next)
        {
            self.pop_front();
        }
    }

    /// Drops the entries before index `first`.
    pub(super) fn purge(&mut self, first: u64) {
        while self.first().is_some_and(|held| held < first) {
            self.pop_front();
        }
    }

    /// Drops the entries from index `next` on.
    pub(super) fn truncate(&mut self, next: u64) {
        while let Some((entry, bytes)) = self.entries.pop_back() {
            if entry.log_id.index < next {
                self.entries.push_back((entry, bytes));
                break;
            }
            self.bytes -= bytes;
        }
    }

    /// Copies entries from index `first`, which is held, to before `end`: at
    /// least one, else as many as fit `budget_bytes`.
    pub(super) fn read(&self, first: u64, end: u64, budget_bytes: usize) -> Vec<Entry> {
        let held = self.first().unwrap_or(first);
        let skipped = crate::base::units::index_of(first.saturating_sub(held));
        let mut read = Vec::new();
        let mut read_bytes = 0;
        for (entry, bytes) in self.entries.iter().skip(skipped) {
            read_bytes += bytes;
            let is_full = read_bytes > budget_bytes && !read.is_empty();
            if entry.log_id.index >= end || is_full {
                break;
            }
            read.push(entry.clone());
        }
        read
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.entries.pop_front() {
            self.bytes -= bytes;
        }
    }
}

/// Where the bytes of the log are, so that it can be cut by bytes: a point per
/// mebibyte, not per entry.
#[derive(Debug, Default)]
pub(super) struct Milestones {
    points: VecDeque<Milestone>,
    written_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Milestone {
    index: u64,
    /// Bytes written before the entry at `index`.
    before_bytes: u64,
}

/// Distance of two points.
const MILESTONE_BYTES: u64 = 1024 * 1024;

impl Milestones {
    /// Notes that the entry at `index` was written.
    pub(super) fn push(&mut self, index: u64, entry_bytes: usize) {
        let newest = self.points.back();
        if newest.is_none_or(|at| self.written_bytes - at.before_bytes >= MILESTONE_BYTES) {
            self.points.push_back(Milestone {
                index,
                before_bytes: self.written_bytes,
            });
        }
        self.written_bytes += to_u64(entry_bytes);
    }

    /// Forgets points before index `first`.
    pub(super) fn purge(&mut self, first: u64) {
        while self
            .points
            .get(1)
            .is_some_and(|second| second.index <= first)
        {
            self.points.pop_front();
        }
    }

    /// Forgets points from index `next` on.
    pub(super) fn truncate(&mut self, next: u64) {
        while self
            .points
            .back()
            .is_some_and(|newest| newest.index >= next)
        {
            self.points.pop_back();
        }
    }

    /// Bytes written so far, removed ones included; only differences mean something.
    pub(super) const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes the log holds, to a mebibyte.
    pub(super) fn held_bytes(&self) -> u64 {
        let first = self.points.front();
        first.map_or(0, |first| self.written_bytes - first.before_bytes)
    }

    /// Index before which entries must go so that about `kept_bytes` stay.
    pub(super) fn cut(&self, kept_bytes: u64) -> Option<u64> {
        let mut candidates = self.points.iter();
        let kept = candidates.find(|point| self.written_bytes - point.before_bytes <= kept_bytes);
        kept.or_else(|| self.points.back()).map(|point| point.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use openraft::EntryPayload;
    use openraft::impls::leader_id_adv::LeaderId;

    use crate::raft::types::{Change, LogId};

    fn entry(index: u64, payload_bytes: usize) -> Entry {
        let leader_id = LeaderId {
            term: 1,
            node_id: 1,
        };
        Entry {
            log_id: LogId { leader_id, index },
            payload: EntryPayload::Normal(Change {
                bytes: Bytes::from(vec![0; payload_bytes]),
            }),
        }
    }

    fn filled(count: u64, payload_bytes: usize) -> Recent {
        let mut recent = Recent::default();
        for index in 0..count {
            recent.push(entry(index, payload_bytes), payload_bytes);
        }
        recent
    }

    #[test]
    fn what_is_not_flushed_stays_whatever_its_size() {
        let mut recent = filled(10, RECENT_BYTES_MAX);
        recent.evict(4);
        assert_eq!(recent.first(), Some(4));
    }

    #[test]
    fn flushed_entries_stay_within_the_bound() {
        let mut recent = filled(10, RECENT_BYTES_MAX / 4);
        recent.evict(u64::MAX);
        assert!(recent.bytes <= RECENT_BYTES_MAX && recent.first() == Some(7));
    }

    #[test]
    fn reading_ends_at_the_budget_but_gives_at_least_one() {
        let recent = filled(10, 1000);
        let indexes = |entries: Vec<Entry>| -> Vec<u64> {
            entries.iter().map(|entry| entry.log_id.index).collect()
        };
        assert_eq!(indexes(recent.read(3, 6, usize::MAX)), [3, 4, 5]);
        assert_eq!(indexes(recent.read(3, 6, 1)), [3]);
        assert_eq!(indexes(recent.read(3, 9, 2500)), [3, 4]);
    }

    #[test]
    fn truncation_and_purge_leave_the_middle() {
        let mut recent = filled(10, 10);
        recent.truncate(8);
        recent.purge(2);
        assert_eq!(recent.first(), Some(2));
        assert_eq!(recent.read(2, 100, usize::MAX).len(), 6);
        recent.truncate(0);
        assert_eq!((recent.first(), recent.bytes), (None, 0));
    }

    #[test]
    fn a_cut_keeps_about_what_it_was_asked_to_keep() {
        let mut milestones = Milestones::default();
        for index in 0..100 {
            milestones.push(index, 1024 * 1024);
        }
        assert_eq!(milestones.held_bytes(), 100 * MILESTONE_BYTES);
        assert_eq!(milestones.cut(10 * MILESTONE_BYTES), Some(90));
        milestones.purge(90);
        assert_eq!(milestones.held_bytes(), 10 * MILESTONE_BYTES);
        assert_eq!(milestones.cut(u64::MAX), Some(90));
        assert_eq!(milestones.cut(0), Some(99));
    }
}
