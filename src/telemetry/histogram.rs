//! Distributions in fixed buckets, written with one atomic add per observation.

use std::time::Duration;

use super::value::Counter;

/// Upper bounds in nanoseconds: 50 µs to 1 min, about three per decade. A journal
/// sync, a cache hit and a slow client each land well inside.
const BOUNDS_NANOS: [u64; 18] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];
/// Upper bounds of batch sizes.
const BOUNDS_ITEMS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// How long something takes.
#[derive(Debug)]
pub struct DurationHistogram(Buckets);

impl DurationHistogram {
    /// Takes one observation.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.observe(nanos);
    }

    /// Observations so far.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Under which duration `percent` of the observations lie, as even in its bucket as
    /// Prometheus takes it; zero before the first one.
    pub fn percentile(&self, percent: u8) -> Duration {
        Duration::from_nanos(self.0.percentile(percent))
    }

    /// The mean of the observations; zero before the first one.
    pub fn mean(&self) -> Duration {
        let sum = self.0.sum.value();
        Duration::from_nanos(sum.checked_div(self.count()).unwrap_or_default())
    }

    /// Cumulative counts under each bound, in seconds; the sum, in seconds.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.0
            .snapshot(|nanos| Duration::from_nanos(nanos).as_secs_f64())
    }
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self(Buckets::new(&BOUNDS_NANOS))
    }
}

/// How many things come at once.
#[derive(Debug)]
pub struct CountHistogram(Buckets);

impl CountHistogram {
    /// Takes one observation.
    pub fn observe(&self, count: usize) {
        self.0.observe(crate::base::units::to_u64(count));
    }

    /// Observations so far.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Cumulative counts under each bound; the sum.
    pub(super) fn snapshot(&self) -> Snapshot {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sum is shown, not computed with; 53 bits suffice"
        )]
        self.0.snapshot(|items| items as f64)
    }
}

impl Default for CountHistogram {
    fn default() -> Self {
        Self(Buckets::new(&BOUNDS_ITEMS))
    }
}

/// One reading of a histogram. The counts are read one after the other while
/// writers go on; the last cumulative count is the total by construction.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum: f64,
}

#[derive(Debug)]
struct Buckets {
    bounds: &'static [u64],
    /// One per bound, and one for what lies above the last.
    counts: Box<[Counter]>,
    sum: Counter,
}

impl Buckets {
    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self {
            bounds,
            counts,
            sum: Counter::default(),
        }
    }

    fn observe(&self, value: u64) {
        let index = self.bounds.partition_point(|bound| *bound < value);
        if let Some(counter) = self.counts.get(index) {
            counter.count();
        }
        self.sum.add(value);
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(Counter::value).sum()
    }

    /// What lies above the last bound counts as that bound.
    fn percentile(&self, percent: u8) -> u64 {
        let counts: Vec<u64> = self.counts.iter().map(Counter::value).collect();
        let count: u64 = counts.iter().sum();
        let rank = (u128::from(count) * u128::from(percent.min(100))).div_ceil(100);
        let (mut below, mut lower) = (0, 0);
        for (bound, inside) in self.bounds.iter().zip(counts) {
            let inside = u128::from(inside);
            if below + inside >= rank {
                let width = u128::from(*bound - lower);
                let part = (width * (rank - below)).checked_div(inside);
                return lower + u64::try_from(part.unwrap_or_default()).unwrap_or_default();
            }
            (below, lower) = (below + inside, *bound);
        }
        lower
    }

    fn snapshot(&self, scale: impl Fn(u64) -> f64) -> Snapshot {
        let sum = scale(self.sum.value());
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, counter) in self.bounds.iter().zip(&self.counts) {
            count += counter.value();
            buckets.push((scale(*bound), count));
        }
        count += self.counts.last().map_or(0, Counter::value);
        Snapshot {
            buckets,
            count,
            sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_the_bound_counts_under_it_and_one_above_all_counts_in_total() {
        let histogram = DurationHistogram::default();
        histogram.observe(Duration::from_micros(50));
        histogram.observe(Duration::from_micros(51));
        histogram.observe(Duration::from_secs(90));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[0], (0.000_05, 1));
        assert_eq!(snapshot.buckets[1], (0.000_1, 2));
        assert_eq!(snapshot.buckets.last(), Some(&(60.0, 2)));
        assert_eq!(snapshot.count, 3);
        assert!((snapshot.sum - 90.000_101).abs() < 1e-9);
    }

    #[test]
    fn batch_sizes_are_shown_as_they_are() {
        let histogram = CountHistogram::default();
        histogram.observe(3);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[1], (2.0, 0));
        assert_eq!(snapshot.buckets[2], (4.0, 1));
        assert!((snapshot.sum - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_percentile_lies_in_its_bucket_as_far_as_its_rank() {
        let histogram = DurationHistogram::default();
        assert_eq!(histogram.percentile(99), Duration::ZERO);
        assert_eq!(histogram.mean(), Duration::ZERO);
        for _ in 0..98 {
            histogram.observe(Duration::from_millis(3));
        }
        histogram.observe(Duration::from_millis(20));
        histogram.observe(Duration::from_secs(90));
        // 2.5 ms, and 50 of 98 parts of the way to 5 ms.
        assert_eq!(histogram.percentile(50).as_micros(), 3775);
        assert_eq!(histogram.percentile(98), Duration::from_millis(5));
        assert_eq!(histogram.percentile(99), Duration::from_millis(25));
        assert_eq!(histogram.percentile(100), Duration::from_secs(60));
        assert_eq!(histogram.mean().as_micros(), 903_140);
    }
}
