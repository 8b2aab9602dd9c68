//! Whether a client sends its body fast enough.

use std::time::Duration;

/// Counts bytes against the time spent waiting for them. The time that the disk
/// or the journal takes is not the client's and is never counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    window: Duration,
    bytes_min: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// A pace that asks for `rate_bytes_min` per second over each `window`.
    pub(super) fn new(window: Duration, rate_bytes_min: u64) -> Self {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        Self {
            window,
            bytes_min: rate_bytes_min.saturating_mul(window_ms) / 1000,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// How long may be waited before the next verdict.
    pub(super) const fn patience(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Takes in that `bytes` came after waiting for `waited`; false when a
    /// window has passed with too few.
    #[must_use]
    pub(super) fn keeps_up(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.window {
            return true;
        }
        let is_fast_enough = self.bytes >= self.bytes_min;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_fast_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_is_judged_when_it_has_passed() {
        let mut pace = Pace::new(SECOND * 3, 100);
        assert!(pace.keeps_up(SECOND, 0));
        assert_eq!(pace.patience(), SECOND * 2);
        assert!(pace.keeps_up(SECOND, 0));
        assert!(pace.keeps_up(SECOND, 300));
        assert_eq!(pace.patience(), SECOND * 3);
        assert!(pace.keeps_up(SECOND * 2, 299));
        assert!(!pace.keeps_up(SECOND, 0));
    }

    #[test]
    fn bytes_that_were_not_waited_for_count_in_favour() {
        let mut pace = Pace::new(SECOND, 100);
        assert!(pace.keeps_up(Duration::ZERO, 100));
        assert!(pace.keeps_up(SECOND, 0));
        assert!(!pace.keeps_up(SECOND, 99));
    }
}
