//! How far each follower is behind, as the leader sees it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Followers that are shown, those with the lowest numbers first: more than any
/// cluster is expected to have, so that the number of series stays bounded.
const FOLLOWERS_MAX: usize = 64;

/// A lag for every follower. Written by the raft core alone; a reader in between
/// sees some lags of before and some of after.
#[derive(Debug)]
pub struct FollowerLags([Follower; FOLLOWERS_MAX]);

#[derive(Debug, Default)]
struct Follower {
    /// 0 for nobody: node numbers count from 1.
    node: AtomicU64,
    lag_entries: AtomicU64,
}

impl Default for FollowerLags {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Follower::default()))
    }
}

impl FollowerLags {
    /// Replaces all of them by pairs of node and lag; none on a node that does
    /// not lead.
    pub fn set(&self, lags: impl Iterator<Item = (u64, u64)>) {
        let mut lags = lags.fuse();
        for follower in &self.0 {
            let (node, lag_entries) = lags.next().unwrap_or_default();
            follower.lag_entries.store(lag_entries, Ordering::Relaxed);
            let before = follower.node.swap(node, Ordering::Relaxed);
            if node == 0 && before == 0 {
                break;
            }
        }
    }

    /// The pairs as they are now.
    pub fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        let pair = |follower: &Follower| {
            let node = follower.node.load(Ordering::Relaxed);
            (node, follower.lag_entries.load(Ordering::Relaxed))
        };
        self.0.iter().map(pair).take_while(|(node, _)| *node != 0)
    }

    /// The series of `name`, one line each.
    pub(super) fn series(&self, name: &str) -> String {
        let mut text = String::new();
        for (node, lag_entries) in self.pairs() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name}{{node=\"{node}\"}} {lag_entries}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_shows_its_followers_and_nobody_else_shows_any() {
        let lags = FollowerLags::default();
        lags.set([(2, 0), (7, 41)].into_iter());
        assert_eq!(lags.series("x"), "x{node=\"2\"} 0\nx{node=\"7\"} 41\n");
        lags.set([(7, 40)].into_iter());
        assert_eq!(lags.series("x"), "x{node=\"7\"} 40\n");
        lags.set(std::iter::empty());
        assert_eq!(lags.series("x"), "");
    }

    #[test]
    fn more_followers_than_are_shown_do_no_harm() {
        let lags = FollowerLags::default();
        lags.set((1..).map(|node| (node, node)).take(200));
        assert_eq!(lags.pairs().count(), FOLLOWERS_MAX);
    }
}
