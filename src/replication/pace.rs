//! How fast a blob comes: too fast, too slow, or held up by its source.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::base::limits::EXTENT_BYTES;

/// Time spent waiting for a source within which at least an extent must come, when
/// another source could do better. Less than an extent would also be less than what is
/// kept when the source changes, so that the blob might never come.
pub(super) const SLOW_WAIT_MAX: Duration = Duration::from_secs(20);
/// What is waited for is judged after so many extents …
const JUDGED_EXTENTS: u32 = 4;
/// … or so long.
pub(super) const JUDGED_TIME: Duration = Duration::from_millis(250);

/// How fast a source is, and how fast it may be.
pub(super) struct Pace {
    /// Bytes and waiting since the source was judged last.
    bytes: u64,
    waited: Duration,
    /// Whether another source could take over.
    is_judged: bool,
    /// Bytes in a second that are not exceeded, since when, and how many came.
    limit: Option<NonZeroU64>,
    began: Instant,
    total_bytes: u64,
}

impl Pace {
    pub(super) const fn new(is_judged: bool, limit: Option<NonZeroU64>, began: Instant) -> Self {
        Self {
            bytes: 0,
            waited: Duration::ZERO,
            is_judged,
            limit,
            began,
            total_bytes: 0,
        }
    }

    /// Notes what came and how long it was waited for; whether the source is too slow for
    /// what is left. What came late has come.
    pub(super) fn note(&mut self, bytes: u64, waited: Duration, is_whole: bool) -> bool {
        self.total_bytes += bytes;
        self.bytes += bytes;
        self.waited += waited;
        if self.bytes >= u64::from(EXTENT_BYTES) {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
        self.is_judged && self.waited > SLOW_WAIT_MAX && !is_whole
    }

    /// Nothing that came before counts against the limit.
    pub(super) const fn begin(&mut self, now: Instant) {
        (self.began, self.total_bytes) = (now, 0);
    }

    /// Another source is not to blame for what the one before it was.
    pub(super) const fn change_source(&mut self) {
        (self.bytes, self.waited) = (0, Duration::ZERO);
    }

    /// How long to wait when more came than may.
    pub(super) fn early_by(&self, now: Instant) -> Option<Duration> {
        let due_ms = self.total_bytes.saturating_mul(1000) / self.limit?;
        let due = self.began + Duration::from_millis(due_ms);
        Some(due.saturating_duration_since(now)).filter(|early| !early.is_zero())
    }
}

/// Whether most of the time is spent waiting for bytes: only then do more sources make
/// a blob come sooner. Hashing, the disk and limits are not made faster by them.
pub(super) struct Thirst {
    began: Instant,
    waited: Duration,
    extents: u32,
    is_thirsty: bool,
}

impl Thirst {
    pub(super) const fn new(began: Instant) -> Self {
        Self {
            began,
            waited: Duration::ZERO,
            extents: 0,
            is_thirsty: false,
        }
    }

    /// Bytes were waited for.
    pub(super) fn waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// So many extents were taken in; says whether bytes are what is lacking. What
    /// lacked them before must have waited little to be rid of its help.
    pub(super) fn judge(&mut self, extents: u32, now: Instant) -> bool {
        self.extents += extents;
        let elapsed = now.saturating_duration_since(self.began);
        if self.extents >= JUDGED_EXTENTS || elapsed >= JUDGED_TIME {
            let most = if self.is_thirsty { 4 } else { 2 };
            self.is_thirsty = self.waited * most > elapsed;
            (self.began, self.waited, self.extents) = (now, Duration::ZERO, 0);
        }
        self.is_thirsty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::base::units::MIB;

    #[test]
    fn a_source_is_too_slow_when_an_extent_takes_too_long_to_come_and_others_have_it() {
        let now = Clock::hand_moved().now();
        let half = u64::from(EXTENT_BYTES / 2);
        let mut pace = Pace::new(true, None, now);
        for _ in 0..10 {
            assert!(!pace.note(half, SLOW_WAIT_MAX / 2, false));
        }
        assert!(!pace.note(half - 1, SLOW_WAIT_MAX / 2, false));
        assert!(pace.note(0, SLOW_WAIT_MAX, false));
        let mut only = Pace::new(false, None, now);
        assert!(!only.note(1, SLOW_WAIT_MAX * 10, false));
    }

    #[test]
    fn a_source_that_has_sent_everything_was_not_too_slow() {
        let now = Clock::hand_moved().now();
        let mut pace = Pace::new(true, None, now);
        assert!(!pace.note(1, SLOW_WAIT_MAX, false));
        assert!(!pace.note(1, SLOW_WAIT_MAX, true));
    }

    #[test]
    fn a_limited_fetch_waits_for_its_time() {
        let clock = Clock::hand_moved();
        let mut pace = Pace::new(true, NonZeroU64::new(u64::from(MIB)), clock.now());
        pace.note(u64::from(MIB / 2), Duration::ZERO, false);
        let early = pace.early_by(clock.now());
        assert_eq!(early, Some(Duration::from_millis(500)));
        clock.advance(Duration::from_millis(500));
        assert_eq!(pace.early_by(clock.now()), None);
        assert_eq!(
            Pace::new(true, None, clock.now()).early_by(clock.now()),
            None
        );
    }

    #[test]
    fn what_came_before_a_limit_counted_is_not_waited_for() {
        let clock = Clock::hand_moved();
        let mut pace = Pace::new(true, NonZeroU64::new(u64::from(MIB)), clock.now());
        pace.note(1000 * u64::from(MIB), Duration::ZERO, false);
        pace.begin(clock.now());
        assert_eq!(pace.early_by(clock.now()), None);
        pace.note(u64::from(MIB), Duration::ZERO, false);
        let early = pace.early_by(clock.now());
        assert_eq!(early, Some(Duration::from_secs(1)));
    }

    #[test]
    fn bytes_are_lacking_when_they_are_waited_for_most_of_the_time() {
        let clock = Clock::hand_moved();
        let mut thirst = Thirst::new(clock.now());
        let mut waits = |wait_ms: u64, extents| {
            clock.advance(JUDGED_TIME);
            thirst.waited(Duration::from_millis(wait_ms));
            thirst.judge(extents, clock.now())
        };
        assert!(!waits(120, 1));
        assert!(waits(130, 0));
        assert!(waits(70, 1), "what helps is kept");
        assert!(!waits(60, 1));
        assert!(!waits(0, 4));
    }
}
