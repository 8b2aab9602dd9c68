//! Decides when an end that says nothing is gone.

use std::time::{Duration, Instant};

/// Watches one connection for signs of life. Its owner looks every `period`; when the
/// owner itself was held up (a stopped process, a crowded machine), the silence is its
/// own and the count begins anew.
#[derive(Debug)]
pub(super) struct Liveness {
    period: Duration,
    silence_max: Duration,
    last_sign: Instant,
    last_look: Instant,
}

impl Liveness {
    pub(super) const fn new(period: Duration, silence_max: Duration, now: Instant) -> Self {
        Self {
            period,
            silence_max,
            last_sign: now,
            last_look: now,
        }
    }

    /// The other end did something: sent bytes, or took some when none would go.
    pub(super) const fn saw_sign(&mut self, now: Instant) {
        self.last_sign = now;
    }

    /// Looks; `false` when the other end has been silent for too long.
    pub(super) fn is_alive(&mut self, now: Instant) -> bool {
        let since_look = now.saturating_duration_since(self.last_look);
        self.last_look = now;
        if since_look > self.period * 2 {
            self.last_sign = now;
        }
        now.saturating_duration_since(self.last_sign) < self.silence_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_ends_a_connection_and_a_sign_begins_the_count_anew() {
        let clock = Clock::hand_moved();
        let mut liveness = Liveness::new(SECOND, SECOND * 3, clock.now());
        let looks = |count: u32, liveness: &mut Liveness| {
            let look = |_| {
                clock.advance(SECOND);
                liveness.is_alive(clock.now())
            };
            (0..count).map(look).collect::<Vec<_>>()
        };
        assert_eq!(looks(2, &mut liveness), [true, true]);
        let sign = liveness.last_look;
        liveness.saw_sign(sign);
        assert_eq!(looks(3, &mut liveness), [true, true, false]);
    }

    #[test]
    fn the_owners_own_absence_is_not_held_against_the_other_end() {
        let clock = Clock::hand_moved();
        let mut liveness = Liveness::new(SECOND, SECOND * 3, clock.now());
        clock.advance(SECOND * 60);
        assert!(liveness.is_alive(clock.now()));
        for alive in [true, true, false] {
            clock.advance(SECOND);
            assert_eq!(liveness.is_alive(clock.now()), alive);
        }
    }
}
