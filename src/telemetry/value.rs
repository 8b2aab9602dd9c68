//! One number that any thread may move and the exposition reads.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows. Shared by reference; every thread may add.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Adds `amount`; wraps after 2^64, which a scraper takes for a restart.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Shared by reference; every thread may move it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Moves up by one.
    pub fn rise(&self) {
        self.add(1);
    }

    /// Moves down by one.
    pub fn fall(&self) {
        self.add(-1);
    }

    /// Moves by `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Replaces the value; above 2^63 it stays at 2^63 - 1.
    pub fn set(&self, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves up by one until the guard is dropped.
    #[must_use = "the gauge falls when the guard is dropped"]
    pub fn raised(&self) -> Raised<'_> {
        self.rise();
        Raised(self)
    }
}

/// Holds a gauge up by one.
#[derive(Debug)]
pub struct Raised<'a>(&'a Gauge);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.fall();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_gauge_falls_with_its_guard() {
        let gauge = Gauge::default();
        let guard = gauge.raised();
        assert_eq!(gauge.value(), 1);
        drop(guard);
        assert_eq!(gauge.value(), 0);
    }

    #[test]
    fn a_gauge_saturates_instead_of_turning_negative() {
        let gauge = Gauge::default();
        gauge.set(u64::MAX);
        assert_eq!(gauge.value(), i64::MAX);
    }
}
