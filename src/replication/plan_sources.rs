//! Whom the plan asks, and what it makes of those that failed.

use std::time::{Duration, Instant};

use super::attempt::{Ended, Replaced};
use super::blob_file::BlobFile;
use super::candidates::Holders;
use super::plan::{Entry, Place, Plan, REST_MAX, Source, doubled};

/// A node that could not be reached, or failed otherwise, is left alone for so long;
/// doubled by every further failure …
pub(super) const SOURCE_REST_MIN: Duration = Duration::from_millis(50);
/// … up to this, which bounds how long a healed node goes unasked.
pub(super) const SOURCE_REST_MAX: Duration = Duration::from_secs(5);
/// A source that sent wrong bytes is not asked for the same blob again for so long:
/// its disk will not heal by itself.
pub(super) const LIAR_REST: Duration = Duration::from_secs(10);
/// Further sources of one blob: with more of them each would send less than an extent
/// at a time.
const OTHERS_MAX: usize = 3;

/// A source that failed so many times in a row …
const AWAY_FAILURES_MIN: u32 = 3;
/// … and for so long is away: a node that starts again is back by then.
const AWAY_MIN: Duration = Duration::from_secs(10);
/// A blob that so many attempts did not find, at nodes that are not known to hold it and
/// said last that they do not, is at none of them: about half a minute of attempts, while
/// what was pushed anywhere is written down within a second.
const LACKED_FAILURES_MIN: u32 = 8;

impl Source {
    /// Whether it has not answered for a while.
    fn is_away(&self, now: Instant) -> bool {
        let has_been = |since| now.saturating_duration_since(since) >= AWAY_MIN;
        self.failures >= AWAY_FAILURES_MIN && self.away_since.is_some_and(has_been)
    }
}

impl Entry {
    /// A source of this blob is not asked for it again so soon.
    pub(super) fn avoid(&mut self, source: u64, how: Ended, now: Instant) {
        let (rest, lacks_it) = match how {
            Ended::SourceFailed { .. } | Ended::SourceBusy { .. } => (self.rest(), false),
            Ended::SourceLacks { .. } => (self.rest(), true),
            Ended::SourceLied => (self.rest().max(LIAR_REST), true),
            Ended::Sealed | Ended::LocalFailed | Ended::GivenUp => return,
        };
        self.avoided.insert(source, now + rest);
        if lacks_it {
            self.lacking.insert(source);
        } else {
            self.lacking.remove(&source);
        }
    }
}

impl Plan {
    /// The best of the candidates that may be asked: one that never failed for this
    /// blob, then the least busy, then the first; or when to look again.
    pub(super) fn choose(
        &mut self,
        number: u64,
        candidates: &[u64],
        now: Instant,
    ) -> Result<u64, Instant> {
        let Some(entry) = self.entries.get_mut(&number) else {
            return Err(now + REST_MAX);
        };
        let (mut best, mut soonest) = (None, None);
        for candidate in candidates {
            let source = self.sources.get(candidate);
            let rests_until = source.and_then(|source| source.rests_until);
            let avoided_until = entry.avoided.get(candidate).copied();
            let free_at = rests_until.max(avoided_until);
            if let Some(free_at) = free_at.filter(|free_at| *free_at > now) {
                soonest = Some(soonest.map_or(free_at, |soonest| free_at.min(soonest)));
                continue;
            }
            let busy = source.map_or(0, |source| source.running_count);
            let rank = (avoided_until.is_some(), busy);
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, *candidate));
            }
        }
        if let Some((_, source)) = best {
            return Ok(source);
        }
        if soonest.is_none() {
            entry.failures = entry.failures.saturating_add(1);
        }
        Err(soonest.unwrap_or_else(|| now + entry.rest()))
    }

    /// Further sources for a blob that is being fetched: those that never failed for it
    /// first, then the least busy.
    pub(super) fn others(&self, file: &BlobFile, candidates: &[u64], now: Instant) -> Vec<u64> {
        let number = self.numbers.get(file);
        let Some(entry) = number.and_then(|number| self.entries.get(number)) else {
            return Vec::new();
        };
        let Place::Running { source: first } = entry.place else {
            return Vec::new();
        };
        let mut ranked = Vec::new();
        for candidate in candidates.iter().filter(|candidate| **candidate != first) {
            let source = self.sources.get(candidate);
            let rests_until = source.and_then(|source| source.rests_until);
            let avoided_until = entry.avoided.get(candidate).copied();
            if rests_until
                .max(avoided_until)
                .is_none_or(|free_at| free_at <= now)
            {
                let busy = source.map_or(0, |source| source.running_count);
                ranked.push((avoided_until.is_some(), busy, *candidate));
            }
        }
        // Where equal, the better candidate comes first.
        ranked.sort_by_key(|(has_failed, busy, _)| (*has_failed, *busy));
        let others = ranked.into_iter().map(|(.., candidate)| candidate);
        others.take(OTHERS_MAX).collect()
    }

    /// Whether a blob cannot be had now: nobody who is there has it. Then these nodes, all
    /// of them away, could still have it; `None` when somebody can give it.
    pub(super) fn beyond_reach(
        &self,
        number: u64,
        holders: &Holders,
        now: Instant,
    ) -> Option<Vec<u64>> {
        let entry = self.entries.get(&number)?;
        if matches!(entry.place, Place::Running { .. }) {
            return None;
        }
        let is_nowhere = !holders.are_known && entry.failures >= LACKED_FAILURES_MIN;
        let mut away = Vec::new();
        for node in &holders.nodes {
            let source = self.sources.get(node);
            if source.is_some_and(|source| source.is_away(now)) {
                away.push(*node);
            } else if !is_nowhere || !entry.lacking.contains(node) {
                return None;
            }
        }
        (is_nowhere || !away.is_empty()).then_some(away)
    }

    /// Whether none of the candidates can give a blob: each is away, or lacks it.
    pub(super) fn is_stuck(&self, number: u64, candidates: &[u64], now: Instant) -> bool {
        let Some(entry) = self.entries.get(&number) else {
            return false;
        };
        let is_tried = entry.failures >= LACKED_FAILURES_MIN;
        candidates.iter().all(|node| {
            let source = self.sources.get(node);
            source.is_some_and(|source| source.is_away(now))
                || (is_tried && entry.lacking.contains(node))
        })
    }

    /// A source of a fetch under way failed, and another one goes on.
    pub(super) fn replaced(&mut self, file: BlobFile, who: Replaced, now: Instant) {
        let Replaced {
            source,
            how,
            successor,
        } = who;
        let Some(number) = self.numbers.get(&file).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Place::Running { source: running } = entry.place else {
            return;
        };
        entry.avoid(source, how, now);
        self.note_source(source, how, now);
        if running == source {
            self.put(number, Place::Running { source: successor });
        }
    }

    pub(super) fn note_source(&mut self, node: u64, how: Ended, now: Instant) {
        let source = self.sources.entry(node).or_default();
        match how {
            Ended::SourceFailed { has_moved } => {
                if has_moved {
                    source.failures = 0;
                }
                source.failures = source.failures.saturating_add(1);
                let rest = doubled(SOURCE_REST_MIN, source.failures, SOURCE_REST_MAX);
                source.rests_until = Some(now + rest);
                let since = source.away_since.filter(|_| !has_moved);
                source.away_since = since.or(Some(now));
            }
            Ended::Sealed => {
                source.failures = 0;
                source.rests_until = None;
                source.away_since = None;
            }
            Ended::SourceLacks { .. } | Ended::SourceBusy { .. } | Ended::SourceLied => {
                source.away_since = None;
            }
            Ended::LocalFailed | Ended::GivenUp => {}
        }
    }
}
