//! Decides when a node that could not be reached is tried again.

use std::time::{Duration, Instant};

use crate::base::limits::{PEER_REST_MAX, PEER_REST_MIN};

/// Failed attempts at one node since the last that worked.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    rest: Option<Duration>,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether another attempt must wait.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Instant) {
        let next = |rest: Duration| (rest * 2).min(PEER_REST_MAX);
        let rest = self.rest.map_or(PEER_REST_MIN, next);
        self.rest = Some(rest);
        self.until = Some(now + rest);
    }

    /// An attempt worked: the next failure starts from the shortest rest.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    #[test]
    fn rests_double_up_to_their_bound_and_start_anew_after_success() {
        let clock = Clock::hand_moved();
        let mut backoff = Backoff::default();
        assert!(!backoff.is_resting(clock.now()));
        let mut rests = Vec::new();
        for _ in 0..7 {
            backoff.failed(clock.now());
            let rest = backoff.until.unwrap() - clock.now();
            rests.push(rest.as_millis());
            clock.advance(rest / 2);
            assert!(backoff.is_resting(clock.now()));
            clock.advance(rest / 2);
            assert!(!backoff.is_resting(clock.now()));
        }
        assert_eq!(rests, [50, 100, 200, 400, 800, 1000, 1000]);
        backoff.worked();
        backoff.failed(clock.now());
        assert_eq!(backoff.until.unwrap() - clock.now(), PEER_REST_MIN);
    }
}
