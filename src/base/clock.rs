//! Time, from one place, so that tests own it.
//!
//! Durations are measured on the monotonic clock; ages that are written down
//! (leases, sessions) use milliseconds since the Unix epoch.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a room takes its time from: the machine, or a test's hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Hand {
        start: Instant,
        elapsed: Rc<Cell<Duration>>,
    },
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that moves only by [`Clock::advance`]; its epoch starts at 1970.
    #[must_use]
    pub fn hand_moved() -> Self {
        Self(Source::Hand {
            start: monotonic(),
            elapsed: Rc::default(),
        })
    }

    /// Monotonic now.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => monotonic(),
            Source::Hand { start, elapsed } => *start + elapsed.get(),
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let since = match &self.0 {
            Source::System => wall(),
            Source::Hand { elapsed, .. } => elapsed.get(),
        };
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Moves a hand-moved clock; the machine's clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Hand { elapsed, .. } = &self.0 {
            elapsed.set(elapsed.get() + by);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the machine's clock"
)]
fn monotonic() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the machine's clock"
)]
fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_moved_clock_stands_still_until_advanced() {
        let clock = Clock::hand_moved();
        let before = clock.now();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now() - before, Duration::from_millis(1500));
        assert_eq!(clock.unix_ms(), 1500);
    }
}
