//! Which blobs are read again and again, so that they deserve the page cache. Pure.

use std::time::{Duration, Instant};

use crate::oci::Digest;

/// Blobs remembered by one shard. A blob that falls on another's slot takes it.
const SLOTS: usize = 512;
/// Opens that make a blob popular: the second reader already finds it warming.
const OPENS_MIN: u32 = 2;
/// An open counts this long: a rollout pulls within a minute, a scrubber does not
/// come twice.
const LATELY: Duration = Duration::from_secs(60);

/// Recent opens of one shard, of fixed size.
#[derive(Debug)]
pub(super) struct Popularity {
    slots: Vec<Option<Opens>>,
}

#[derive(Debug, Clone, Copy)]
struct Opens {
    fingerprint: u64,
    count: u32,
    last: Instant,
}

impl Popularity {
    /// Nothing was opened yet.
    pub(super) fn new() -> Self {
        Self {
            slots: vec![None; SLOTS],
        }
    }

    /// Notes that a blob is opened; whether it was opened often lately, this time included.
    pub(super) fn note(&mut self, digest: &Digest, now: Instant) -> bool {
        let fingerprint = fingerprint_of(digest);
        let index = crate::base::units::index_of(fingerprint) % SLOTS;
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        let earlier = slot
            .filter(|opens| opens.fingerprint == fingerprint)
            .filter(|opens| now.saturating_duration_since(opens.last) <= LATELY);
        let count = earlier.map_or(1, |opens| opens.count.saturating_add(1));
        *slot = Some(Opens {
            fingerprint,
            count,
            last: now,
        });
        count >= OPENS_MIN
    }
}

/// The first bytes of a digest are as random as any hash of it.
fn fingerprint_of(digest: &Digest) -> u64 {
    let first = digest.as_bytes().first_chunk::<8>();
    first.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::oci::Algorithm;

    #[test]
    fn the_second_open_within_a_minute_makes_a_blob_popular() {
        let (clock, mut popularity) = (Clock::hand_moved(), Popularity::new());
        let digest = Digest::of(Algorithm::Sha256, b"a");
        assert!(!popularity.note(&digest, clock.now()));
        clock.advance(LATELY);
        assert!(popularity.note(&digest, clock.now()));
        clock.advance(LATELY + Duration::from_millis(1));
        assert!(!popularity.note(&digest, clock.now()));
    }

    #[test]
    fn a_scan_over_many_blobs_makes_none_popular() {
        let (clock, mut popularity) = (Clock::hand_moved(), Popularity::new());
        for number in 0_u32..2000 {
            let digest = Digest::of(Algorithm::Sha256, &number.to_le_bytes());
            assert!(!popularity.note(&digest, clock.now()));
        }
    }
}
