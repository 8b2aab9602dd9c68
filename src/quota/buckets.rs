//! Token buckets by name, in a table of one size that all shards share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::units::{index_of, to_u64};

/// Buckets that share one line of cache; one more, at its end, is for whoever finds none.
const WAY_COUNTS: usize = 7;
/// Bits of a bucket that tell when it is full again, in microseconds: 12.7 days.
const FULL_BITS: u32 = 40;
const FULL_MASK_BITS: u64 = (1 << FULL_BITS) - 1;
/// Longest time in which a bucket fills: so far from a whole turn of the clock that a
/// time which is over is hardly ever taken for one that comes.
const WINDOW_US_MAX: u64 = 24 * 60 * 60 * 1_000_000;

/// How fast buckets fill, and how much each holds.
///
/// ```text
/// bucket   u24 tag of the name | u40 when it is full again, microseconds modulo 2^40
/// ```
/// A bucket that is full says nothing about its name, so its place may go to another
/// one: nobody gains by being forgotten. Names that find all places of their set in use
/// share the last one. So whoever comes from many addresses takes nobody's bucket and
/// needs no more room; and to keep one place in use takes as many requests as a client
/// may send.
///
/// Owned by [`super::Quotas`]; any thread changes it, one word at a time.
#[derive(Debug)]
pub(super) struct Buckets {
    sets: Box<[Set]>,
    interval_us: u64,
    burst_counts: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    ways: [AtomicU64; WAY_COUNTS],
    shared: AtomicU64,
}

/// A place in a set, and what was there.
struct Found<'a> {
    place: &'a AtomicU64,
    seen: u64,
    /// How long until the bucket is full.
    ahead_us: u64,
}

impl Buckets {
    /// `sets`, a power of two, full buckets each way; each gets one more drop in every
    /// `interval` and holds `burst_counts`.
    ///
    /// - Panics: when `sets` is no power of two.
    pub(super) fn new(sets: usize, interval: Duration, burst_counts: u32) -> Self {
        assert!(sets.is_power_of_two(), "sets are chosen by bits");
        let burst_counts = u64::from(burst_counts.max(1));
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        Self {
            sets: std::iter::repeat_with(Set::default).take(sets).collect(),
            interval_us: interval_us.clamp(1, WINDOW_US_MAX / burst_counts),
            burst_counts,
        }
    }

    /// Takes a drop at `now_us`; without one, how long until there is one.
    ///
    /// - Shape: exact, but for a name that comes for the first time on two shards in the
    ///   same instant, whose two buckets are one drop apart. Tries again only after
    ///   another thread has got what it wanted.
    pub(super) fn take(&self, name: u64, now_us: u64) -> Result<(), Duration> {
        loop {
            let found = self.find(name, now_us);
            self.check(&found)?;
            let full_us = now_us.wrapping_add(found.ahead_us + self.interval_us);
            let next = tag_of(name) << FULL_BITS | (full_us & FULL_MASK_BITS);
            // A single word carries everything, so no order with others is needed.
            let order = (Ordering::Relaxed, Ordering::Relaxed);
            let exchanged = found
                .place
                .compare_exchange(found.seen, next, order.0, order.1);
            if exchanged.is_ok() {
                return Ok(());
            }
        }
    }

    /// As [`Buckets::take`], taking nothing. A name that has no bucket of its own has
    /// taken nothing, whatever others have taken from the one that is shared.
    pub(super) fn look(&self, name: u64, now_us: u64) -> Result<(), Duration> {
        let found = self.find(name, now_us);
        if found.seen >> FULL_BITS == tag_of(name) {
            self.check(&found)
        } else {
            Ok(())
        }
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Duration> {
        let tolerated_us = self.interval_us * (self.burst_counts - 1);
        match found.ahead_us.checked_sub(tolerated_us) {
            None | Some(0) => Ok(()),
            Some(wait_us) => Err(Duration::from_micros(wait_us)),
        }
    }

    /// The bucket of a name; else the one that has been full for longest, else the one
    /// that is shared.
    fn find(&self, name: u64, now_us: u64) -> Found<'_> {
        let set = self.set_of(name);
        let tag = tag_of(name);
        let mut idlest: Option<(u64, Found<'_>)> = None;
        for place in &set.ways {
            let found = self.look_at(place, now_us);
            if found.seen >> FULL_BITS == tag {
                return found;
            }
            let idle_us = now_us.wrapping_sub(found.seen) & FULL_MASK_BITS;
            if found.ahead_us == 0 && idlest.as_ref().is_none_or(|(most, _)| idle_us > *most) {
                idlest = Some((idle_us, found));
            }
        }
        idlest.map_or_else(|| self.look_at(&set.shared, now_us), |(_, found)| found)
    }

    fn look_at<'a>(&self, place: &'a AtomicU64, now_us: u64) -> Found<'a> {
        let seen = place.load(Ordering::Relaxed);
        let ahead_us = seen.wrapping_sub(now_us) & FULL_MASK_BITS;
        // What is further ahead than a bucket can be lies behind; 0 was never used.
        let is_filling = seen != 0 && ahead_us <= self.interval_us * self.burst_counts;
        Found {
            place,
            seen,
            ahead_us: if is_filling { ahead_us } else { 0 },
        }
    }

    fn set_of(&self, name: u64) -> &Set {
        let index = index_of(name & (to_u64(self.sets.len()) - 1));
        let set = self.sets.get(index);
        set.expect("invariant: the number of sets is a power of two")
    }
}

/// The upper bits of a name; the lower ones chose its set.
const fn tag_of(name: u64) -> u64 {
    name >> FULL_BITS
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A name in the first set of any table.
    fn name(number: u64) -> u64 {
        (number + 1) << FULL_BITS
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(1, 10 * MS, 3);
        let take = |now_us| buckets.take(name(0), now_us);
        for _ in 0..3 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(10 * MS));
        assert_eq!(take(9_000), Err(MS));
        assert_eq!(buckets.look(name(0), 10_000), Ok(()));
        assert_eq!(take(10_000), Ok(()));
        assert_eq!(take(10_000), Err(10 * MS));
        // Full again, and no fuller.
        for _ in 0..3 {
            assert_eq!(take(1_000_000), Ok(()));
        }
        assert_eq!(take(1_000_000), Err(10 * MS));
    }

    #[test]
    fn nobody_loses_a_bucket_in_use_and_whoever_finds_none_shares_one() {
        let buckets = Buckets::new(1, 1000 * MS, 1);
        for number in 0..7 {
            assert_eq!(buckets.take(name(number), 0), Ok(()));
        }
        // Any number of others have one bucket together.
        assert_eq!(buckets.take(name(7), 0), Ok(()));
        for number in 8..1000 {
            assert_eq!(buckets.take(name(number), 0), Err(1000 * MS));
        }
        for number in 0..7 {
            assert_eq!(
                buckets.take(name(number), 1),
                Err(Duration::from_micros(999_999))
            );
        }
        // Full buckets go, the oldest first.
        assert_eq!(buckets.take(name(1), 1_000_000), Ok(()));
        assert_eq!(buckets.take(name(2), 1_000_001), Ok(()));
        assert_eq!(buckets.take(name(1000), 1_000_002), Ok(()));
        assert!(buckets.take(name(1), 1_000_003).is_err());
        assert!(buckets.take(name(2), 1_000_003).is_err());
        assert!(buckets.take(name(1000), 1_000_003).is_err());
    }

    #[test]
    fn the_clock_of_a_bucket_goes_round() {
        let late_us = (1 << FULL_BITS) - 5_000;
        let buckets = Buckets::new(1, 10 * MS, 2);
        for round in 0..3 {
            let now_us = late_us + round * ((1 << FULL_BITS) + 1_000_000);
            // The first time the clock goes round, unused places do not come into use.
            assert_eq!(buckets.take(name(1 + round), now_us), Ok(()));
            assert_eq!(buckets.take(name(4 + round), now_us), Ok(()));
            assert_eq!(buckets.take(name(0), now_us), Ok(()));
            assert_eq!(buckets.take(name(0), now_us), Ok(()));
            assert_eq!(buckets.take(name(0), now_us), Err(10 * MS));
            assert_eq!(buckets.take(name(0), now_us + 10_000), Ok(()));
        }
    }

    #[test]
    fn threads_together_get_no_more_than_one_would() {
        let buckets = Buckets::new(8, 1000 * MS, 1000);
        buckets.take(name(3), 0).unwrap();
        let taken = AtomicUsize::new(1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if buckets.take(name(3), 0).is_ok() {
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1000);
    }

    proptest! {
        /// Few enough names for each to keep its bucket.
        #[test]
        fn each_name_has_what_a_bucket_of_its_own_would_give(
            steps in prop::collection::vec((0_u64..7, 0_u64..40_000), 1..300),
        ) {
            let buckets = Buckets::new(1, 10 * MS, 4);
            let mut model: HashMap<u64, (f64, u64)> = HashMap::new();
            let mut now_us = 0;
            for (number, pause_us) in steps {
                now_us += pause_us / 4;
                let (drops, at_us) = model.entry(number).or_insert((4.0, now_us));
                let gained = f64::from(u32::try_from(now_us - *at_us).unwrap()) / 10_000.0;
                (*drops, *at_us) = ((*drops + gained).min(4.0), now_us);
                let is_given = *drops >= 1.0 - 1e-9;
                if is_given {
                    *drops -= 1.0;
                }
                prop_assert_eq!(buckets.take(name(number), now_us).is_ok(), is_given);
            }
        }
    }
}
