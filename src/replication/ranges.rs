//! Which extents of a blob come from which source. Pure: rates are given.
//!
//! ```text
//!         head                 the blob, in extents
//!   taken  |  read in order  |  ahead   |  a gap     |  ahead
//!   -------|=================|##########|............|######|----------------
//!            one source, into   others, into memory;   slower ones further ahead
//!            the file at once   taken when their turn comes
//! ```
//! The bytes are hashed and written in order, whoever sends them. Only the source at
//! the head goes straight into the file; what others send meanwhile waits in memory,
//! of which there is little: a source gets as much as it brings until its turn comes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::pace::SLOW_WAIT_MAX;
use crate::base::limits::EXTENT_BYTES;

/// Extents of one blob that wait for their turn, or are on their way there.
pub(super) const AHEAD_EXTENTS_MAX: u64 = 4;
/// First run from the source at the head while it needs no help; doubled by each one
/// that follows …
const RUN_EXTENTS_MIN: u64 = 8;
/// … up to this: another question is nothing then, and help never far.
const RUN_EXTENTS_MAX: u64 = 64;
/// Longest run while others help: a source that brings less than an extent meanwhile is
/// not worth its connection.
const HELPED_RUN_EXTENTS_MAX: u64 = 16;
/// A source that was too slow is tried again after so many extents: networks change.
const REST_EXTENTS: u64 = 64;
/// A source of unknown rate is taken to be this many times slower than the best one.
const UNKNOWN_SHARES: u64 = HELPED_RUN_EXTENTS_MAX;
/// The source at the head is as fast as the best one, or one in this many of it.
const HEAD_SHARES: u64 = 2;
/// What is asked for may take this long besides its time at the rate that is known …
const PATIENCE_MIN: Duration = Duration::from_millis(250);
/// … which it may exceed by this factor.
const PATIENCE_SHARES: u64 = 4;

/// One part in this many of a rate is what was measured last.
const SMOOTH_SHARES: u64 = 4;

/// What to do at the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Read these extents from this source.
    Read { source: usize, extents: Range<u64> },
    /// Take in the first extent: it is here, from this source.
    Take { source: usize },
    /// Wait for one of those that are on their way.
    Wait,
    /// Give up what is on its way from this source: its turn has come, and it turns out
    /// to be slower than others.
    Outdo { source: usize },
}

/// The extents of one blob and its sources. Lives as long as a fetch.
#[derive(Debug)]
pub(super) struct Ranges {
    /// First extent that was not taken in.
    head: u64,
    end: u64,
    sources: Vec<Source>,
    /// By their first extent; what was read at the head is not among them.
    ahead: BTreeMap<u64, Ahead>,
    /// Next run of a source that needs no help.
    run: u64,
    is_helped: bool,
    /// Whether more sources may be found while the last one sends.
    may_grow: bool,
}

#[derive(Debug, Clone)]
struct Source {
    place: Place,
    /// Bytes in a second.
    rate: Option<u64>,
    /// It is not asked before the head is here.
    rests_until: u64,
}

/// A source of which nothing is known.
const NEWCOMER: Source = Source {
    place: Place::Idle,
    rate: None,
    rests_until: 0,
};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Idle,
    /// It sends these extents, from the head on.
    Head(Range<u64>),
    /// It sends extents ahead, from this one on.
    Ahead(u64),
    Gone,
}

#[derive(Debug, Clone)]
struct Ahead {
    count: u64,
    source: usize,
    is_here: bool,
}

impl Ranges {
    /// Extents `head..end` from so many sources, the best one first. Where more
    /// may be found, none is asked for all that is left at once.
    pub(super) fn new(head: u64, end: u64, sources: usize, may_grow: bool) -> Self {
        Self {
            head,
            end,
            sources: vec![NEWCOMER; sources],
            ahead: BTreeMap::new(),
            run: RUN_EXTENTS_MIN,
            is_helped: false,
            may_grow,
        }
    }

    /// One more source.
    pub(super) fn add(&mut self) {
        self.sources.push(NEWCOMER);
    }

    /// Whether the source at the head is the bottleneck, so that others may help.
    pub(super) const fn help(&mut self, is_helped: bool) {
        self.is_helped = is_helped;
    }

    /// Sources that may still be asked.
    pub(super) fn alive_count(&self) -> usize {
        let alive = |source: &&Source| source.place != Place::Gone;
        self.sources.iter().filter(alive).count()
    }

    /// A source that may still be asked.
    pub(super) fn any_alive(&self) -> Option<usize> {
        self.any_alive_but(usize::MAX)
    }

    /// As [`Ranges::any_alive`], and not `but`.
    pub(super) fn any_alive_but(&self, but: usize) -> Option<usize> {
        let mut sources = self.sources.iter().enumerate();
        let alive = sources.find(|(number, source)| *number != but && source.place != Place::Gone);
        alive.map(|(number, _)| number)
    }

    /// What to do at the head. A source that is to be read from is there until
    /// [`Ranges::left`], [`Ranges::outdone`] or [`Ranges::failed`]. The last source never
    /// fails here: that ends the fetch.
    pub(super) fn next(&mut self) -> Next {
        if let Some(ahead) = self.ahead.get(&self.head) {
            return match ahead {
                Ahead {
                    is_here: true,
                    source,
                    ..
                } => Next::Take { source: *source },
                Ahead { source, .. } if self.is_outdone(*source) => Next::Outdo { source: *source },
                Ahead { .. } => Next::Wait,
            };
        }
        let Some(best) = self.head_source() else {
            return Next::Wait;
        };
        let extents = self.head..self.head + self.run_of(best);
        if let Some(source) = self.sources.get_mut(best) {
            source.place = Place::Head(extents.clone());
        }
        Next::Read {
            source: best,
            extents,
        }
    }

    /// The next extents to ask an idle source for, ahead of their turn.
    pub(super) fn next_ahead(&mut self) -> Option<(usize, Range<u64>)> {
        let counts = self.ahead.values().map(|ahead| ahead.count);
        let room = AHEAD_EXTENTS_MAX.saturating_sub(counts.sum());
        if !self.is_helped || room == 0 || self.alive_count() < 2 {
            return None;
        }
        let kept = self.kept_for_head();
        // Before anything has come, anyone may be the best.
        let best = self.best_rate(None).unwrap_or(1);
        let run = self.helped_run(best);
        for number in 0..self.sources.len() {
            if !self.is_usable(number) || !self.is_idle(number) || kept == Some(number) {
                continue;
            }
            let rate = self.rate_of(number, best);
            let is_known = self
                .sources
                .get(number)
                .is_some_and(|one| one.rate.is_some());
            let share = if is_known { run * rate / best } else { 1 };
            if share == 0 {
                self.rest(number);
                continue;
            }
            let count = share.min(room);
            // When its turn comes, it should be here.
            let lead = (count * best).div_ceil(rate);
            if let Some(extents) = self.gap(self.head + lead, count) {
                self.begin_ahead(number, &extents);
                return Some((number, extents));
            }
        }
        None
    }

    /// There is memory for the first `count` extents only of those that a source was to
    /// be asked for.
    pub(super) fn shorten(&mut self, number: usize, count: u64) {
        let Some(source) = self.sources.get_mut(number) else {
            return;
        };
        let Place::Ahead(first) = source.place else {
            return;
        };
        if count == 0 {
            source.place = Place::Idle;
            self.ahead.remove(&first);
        } else if let Some(ahead) = self.ahead.get_mut(&first) {
            ahead.count = ahead.count.min(count);
        }
    }

    /// What a source was asked for ahead has come.
    pub(super) fn landed(&mut self, number: usize) {
        let Some(source) = self.sources.get_mut(number) else {
            return;
        };
        if let Place::Ahead(first) = source.place {
            source.place = Place::Idle;
            if let Some(ahead) = self.ahead.get_mut(&first) {
                ahead.is_here = true;
            }
        }
    }

    /// The source at the head has sent its run, or is asked no further.
    pub(super) fn left(&mut self, number: usize) {
        if let Some(source) = self.sources.get_mut(number)
            && matches!(source.place, Place::Head(_))
        {
            source.place = Place::Idle;
        }
    }

    /// A source is slower than the others; what it was asked for comes from them.
    pub(super) fn outdone(&mut self, number: usize) {
        self.release(number, Place::Idle);
        self.rest(number);
    }

    /// A source is not asked again; what it was asked for comes from others.
    pub(super) fn failed(&mut self, number: usize) {
        self.release(number, Place::Gone);
    }

    /// The extent at the head was taken in; the whole of a run of the source at the head
    /// comes extent by extent.
    pub(super) fn took(&mut self) {
        if let Some(ahead) = self.ahead.remove(&self.head)
            && ahead.count > 1
        {
            let count = ahead.count - 1;
            self.ahead.insert(self.head + 1, Ahead { count, ..ahead });
        }
        self.head += 1;
    }

    /// The extent at the head, which came ahead of its turn, is not what it should be:
    /// nothing is kept of what its source sent.
    pub(super) fn lied(&mut self, number: usize) {
        self.failed(number);
        self.ahead.retain(|_, ahead| ahead.source != number);
    }

    /// A source brought so many bytes in this time.
    pub(super) fn measured(&mut self, number: usize, bytes: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = (bytes.saturating_mul(1_000_000) / micros).max(1);
        if let Some(source) = self.sources.get_mut(number) {
            // Buffers on the way may bring much at once that came slowly.
            let smooth = |before: u64| {
                let news = rate.min(before.saturating_mul(2));
                (before - before / SMOOTH_SHARES + news / SMOOTH_SHARES).max(1)
            };
            source.rate = Some(source.rate.map_or(rate, smooth));
        }
    }

    /// How long a source that has answered may take for an extent at the head, when
    /// others would be faster; `None` when that is not known.
    pub(super) fn patience(&self, number: usize) -> Option<Duration> {
        let best = self.best_rate(Some(number))?;
        Some(PATIENCE_MIN + time_of(PATIENCE_SHARES, best))
    }

    /// How long a source that has answered may take for extents ahead.
    pub(super) fn patience_ahead(&self, number: usize, count: u64) -> Duration {
        let Some(best) = self.best_rate(None) else {
            // As at the head, where others could do better.
            return SLOW_WAIT_MAX * u32::try_from(count).unwrap_or(u32::MAX);
        };
        let slowest = (best / HELPED_RUN_EXTENTS_MAX).max(1);
        let own = self.sources.get(number).and_then(|source| source.rate);
        let expected = own.unwrap_or(slowest).max(slowest);
        PATIENCE_MIN + time_of(count * PATIENCE_SHARES, expected)
    }

    /// Whether extents are on their way, or here, ahead of their turn.
    #[cfg(test)]
    fn ahead_count(&self) -> u64 {
        self.ahead.values().map(|ahead| ahead.count).sum()
    }

    /// The idle source that is read from at the head: one that is about as fast as the
    /// best one. `None` when those are on their way, or none is left.
    fn head_source(&self) -> Option<usize> {
        let idle = (0..self.sources.len()).filter(|number| self.is_idle(*number));
        let rank = |number: &usize| {
            let rate = self.sources.get(*number).and_then(|source| source.rate);
            // The first of equals.
            (self.is_usable(*number), rate, std::cmp::Reverse(*number))
        };
        let chosen = idle.max_by_key(rank)?;
        let is_awaited = self.ahead.values().any(|ahead| !ahead.is_here);
        let best = self.best_rate(None).unwrap_or(0);
        let rate = self.sources.get(chosen).and_then(|source| source.rate);
        let is_good = rate.unwrap_or(0).saturating_mul(HEAD_SHARES) >= best;
        (!is_awaited || (is_good && self.is_usable(chosen))).then_some(chosen)
    }

    /// The source that is read from at the head next, while nobody is: what it would
    /// bring ahead, it brings in its turn, and more at a time.
    fn kept_for_head(&self) -> Option<usize> {
        let is_at_head = |source: &Source| matches!(source.place, Place::Head(_));
        if self.sources.iter().any(is_at_head) {
            return None;
        }
        let mut next = self.head;
        while let Some(ahead) = self.ahead.get(&next) {
            if !ahead.is_here {
                // There is nothing to read before that has come.
                return None;
            }
            next += ahead.count;
        }
        self.head_source().filter(|_| next < self.end)
    }

    /// Whether a source, of which nothing is known, keeps a good one waiting.
    fn is_outdone(&self, number: usize) -> bool {
        let is_known = |number: usize| {
            let source = self.sources.get(number);
            source.is_some_and(|source| source.rate.is_some())
        };
        let mut idle = (0..self.sources.len()).filter(|number| self.is_idle(*number));
        !is_known(number) && idle.any(|number| is_known(number) && self.is_usable(number))
    }

    /// Extents that a source at the head is asked for.
    fn run_of(&mut self, number: usize) -> u64 {
        let next = self.ahead.range(self.head..).next();
        let free = next.map_or(self.end, |(first, _)| *first) - self.head;
        if self.alive_count() < 2 && !self.may_grow {
            return free;
        }
        let rate = self.sources.get(number).and_then(|source| source.rate);
        if self.is_helped
            && let Some(rate) = rate
        {
            return free.min(self.helped_run(rate));
        }
        let run = self.run;
        self.run = (run * 2).min(RUN_EXTENTS_MAX);
        free.min(run)
    }

    /// Extents from a source of `rate` at the head while the others together bring what
    /// memory there is for.
    fn helped_run(&self, rate: u64) -> u64 {
        let usable = (0..self.sources.len()).filter(|number| self.is_usable(*number));
        let all: u64 = usable.map(|number| self.rate_of(number, rate)).sum();
        let others = all.saturating_sub(rate).max(1);
        let run = rate.saturating_mul(AHEAD_EXTENTS_MAX) / others;
        run.clamp(1, HELPED_RUN_EXTENTS_MAX)
    }

    /// The first gap from `from` on, cut to `count` extents.
    fn gap(&self, from: u64, count: u64) -> Option<Range<u64>> {
        let heads = self
            .sources
            .iter()
            .filter_map(|source| match &source.place {
                Place::Head(extents) => Some(extents.clone()),
                Place::Idle | Place::Ahead(_) | Place::Gone => None,
            });
        let ahead = self.ahead.iter();
        let ahead = ahead.map(|(first, ahead)| *first..first + ahead.count);
        let mut taken: Vec<Range<u64>> = heads.chain(ahead).collect();
        taken.sort_unstable_by_key(|extents| extents.start);
        let mut first = from;
        for extents in &taken {
            if extents.contains(&first) {
                first = extents.end;
            }
        }
        let next = taken.iter().map(|extents| extents.start);
        let next = next.filter(|start| *start > first).min();
        let end = next.unwrap_or(self.end).min(self.end).min(first + count);
        (first < end).then_some(first..end)
    }

    fn begin_ahead(&mut self, number: usize, extents: &Range<u64>) {
        let ahead = Ahead {
            count: extents.end - extents.start,
            source: number,
            is_here: false,
        };
        self.ahead.insert(extents.start, ahead);
        if let Some(source) = self.sources.get_mut(number) {
            source.place = Place::Ahead(extents.start);
        }
    }

    /// Takes from a source what it was asked for and has not brought.
    fn release(&mut self, number: usize, place: Place) {
        if let Some(source) = self.sources.get_mut(number)
            && let Place::Ahead(first) = std::mem::replace(&mut source.place, place)
        {
            self.ahead.remove(&first);
        }
    }

    /// Lets a source rest, and forgets its rate: it begins anew.
    fn rest(&mut self, number: usize) {
        let until = self.head + REST_EXTENTS;
        if let Some(source) = self.sources.get_mut(number) {
            (source.rate, source.rests_until) = (None, until);
        }
    }

    fn is_idle(&self, number: usize) -> bool {
        let source = self.sources.get(number);
        source.is_some_and(|source| source.place == Place::Idle)
    }

    fn is_usable(&self, number: usize) -> bool {
        self.sources
            .get(number)
            .is_some_and(|source| source.place != Place::Gone && source.rests_until <= self.head)
    }

    /// The best rate that is known of a source but for one.
    fn best_rate(&self, beside: Option<usize>) -> Option<u64> {
        let numbers = 0..self.sources.len();
        let usable = numbers.filter(|number| Some(*number) != beside && self.is_usable(*number));
        let rates = usable.filter_map(|number| self.sources.get(number)?.rate);
        rates.max()
    }

    /// The rate of a source, or what it is taken to be.
    fn rate_of(&self, number: usize, best: u64) -> u64 {
        let known = self.sources.get(number).and_then(|source| source.rate);
        known.unwrap_or(best / UNKNOWN_SHARES).max(1)
    }
}

/// The time of some extents at a rate.
fn time_of(extents: u64, rate: u64) -> Duration {
    let bytes = extents.saturating_mul(u64::from(EXTENT_BYTES));
    Duration::from_millis(bytes.saturating_mul(1000) / rate.max(1))
}

#[cfg(test)]
#[path = "ranges_test.rs"]
mod tests;
