//! How large the next buffer of an upload is. Pure.

use std::time::Duration;

use crate::base::limits::{MOVE_BYTES_MAX, MOVE_BYTES_MIN};

/// A buffer filled in less than this grows the next one: at 64 KiB that is a
/// client of more than 3 MiB/s.
const FAST: Duration = Duration::from_millis(20);
/// A buffer that took longer than this shrinks the next one.
const SLOW: Duration = Duration::from_millis(200);

/// Size of an upload's buffers: small for a slow client, so that it pins little,
/// large for a fast one, so that the disk sees large writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    bytes: u32,
}

impl Growth {
    /// Starts at `MOVE_BYTES_MIN`.
    pub(super) const fn new() -> Self {
        Self {
            bytes: MOVE_BYTES_MIN,
        }
    }

    /// Size of the next buffer.
    pub(super) const fn bytes(self) -> u32 {
        self.bytes
    }

    /// Learns how long a buffer of the current size took to fill.
    pub(super) fn learn(&mut self, filled_in: Duration) {
        if filled_in < FAST {
            self.bytes = (self.bytes * 2).min(MOVE_BYTES_MAX);
        } else if filled_in > SLOW {
            self.bytes = (self.bytes / 2).max(MOVE_BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_for_a_fast_client_and_shrink_for_a_slow_one() {
        let mut growth = Growth::new();
        assert_eq!(growth.bytes(), MOVE_BYTES_MIN);
        for _ in 0..10 {
            growth.learn(Duration::from_millis(1));
        }
        assert_eq!(growth.bytes(), MOVE_BYTES_MAX);
        growth.learn(Duration::from_millis(100));
        assert_eq!(growth.bytes(), MOVE_BYTES_MAX);
        for _ in 0..10 {
            growth.learn(Duration::from_secs(1));
        }
        assert_eq!(growth.bytes(), MOVE_BYTES_MIN);
    }
}
