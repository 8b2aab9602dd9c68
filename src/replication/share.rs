//! The part of a shard's pool that copies may hold, and who holds how much of it.

use std::cell::Cell;
use std::rc::Rc;

use crate::base::limits::{EXTENT_BYTES, MOVE_BYTES_MAX, TEE_QUEUE_MOVES};

/// All copies together hold at most one part in this many of the pool, so that clients
/// never wait for other nodes only. Two nodes that send to each other out of full pools
/// would have no memory left to receive with.
const COPY_SHARES: u64 = 2;
/// What one answer to another node may hold: what is being sent and what was read ahead.
const SERVE_BYTES_MAX: u64 = 3 * MOVE_BYTES_MAX as u64;
/// What one way to a node may hold: what is being sent, and what waits.
const TEE_BYTES_MAX: u64 = (1 + TEE_QUEUE_MOVES as u64) * MOVE_BYTES_MAX as u64;

/// What memory is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// A blob that another node fetches.
    Serve,
    /// An upload that is passed on.
    Tee,
    /// An extent of a blob that comes before its turn.
    Ahead,
}

impl Holding {
    const ALL: [Self; 3] = [Self::Serve, Self::Tee, Self::Ahead];

    const fn bytes(self) -> u64 {
        match self {
            Self::Serve => SERVE_BYTES_MAX,
            Self::Tee => TEE_BYTES_MAX,
            Self::Ahead => EXTENT_BYTES as u64,
        }
    }

    /// Whether there is always a place for one: else a client that sends slowly, and
    /// long, could keep other nodes from fetching anything here. What comes ahead of
    /// its turn may as well come in its turn.
    const fn is_kept(self) -> bool {
        match self {
            Self::Serve | Self::Tee => true,
            Self::Ahead => false,
        }
    }
}

/// Counts what copies hold. One for each shard.
#[derive(Debug)]
pub(super) struct Share {
    total_bytes: u64,
    /// In the order of [`Holding::ALL`].
    counts: [Cell<u64>; 3],
}

/// A place in the share, given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back when it is dropped"]
pub(super) struct Held {
    share: Rc<Share>,
    holding: Holding,
}

impl Share {
    /// Of a pool of `pool_bytes`.
    pub(super) fn new(pool_bytes: u64) -> Self {
        Self {
            total_bytes: pool_bytes / COPY_SHARES,
            counts: Default::default(),
        }
    }

    /// A place for one more, now or not at all. The first one to serve and the first to
    /// pass on always have a place.
    pub(super) fn take(self: &Rc<Self>, holding: Holding) -> Option<Held> {
        let count = self.count(holding);
        let is_first = holding.is_kept() && count.get() == 0;
        let others = Holding::ALL.into_iter().filter(|other| *other != holding);
        let kept = others.filter(|other| other.is_kept() && self.count(*other).get() == 0);
        let kept_bytes: u64 = kept.map(Holding::bytes).sum();
        if !is_first && self.held_bytes() + kept_bytes + holding.bytes() > self.total_bytes {
            return None;
        }
        count.set(count.get() + 1);
        Some(Held {
            share: Rc::clone(self),
            holding,
        })
    }

    fn held_bytes(&self) -> u64 {
        let held = |holding: Holding| self.count(holding).get() * holding.bytes();
        Holding::ALL.into_iter().map(held).sum()
    }

    const fn count(&self, holding: Holding) -> &Cell<u64> {
        let [serve, tee, ahead] = &self.counts;
        match holding {
            Holding::Serve => serve,
            Holding::Tee => tee,
            Holding::Ahead => ahead,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let count = self.share.count(self.holding);
        count.set(count.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::units::MIB;

    const POOL_BYTES: u64 = 16 * MIB as u64;

    fn all_of(share: &Rc<Share>, holding: Holding) -> Vec<Held> {
        std::iter::from_fn(|| share.take(holding)).collect()
    }

    #[test]
    fn each_leaves_a_place_to_the_other() {
        let share = Rc::new(Share::new(POOL_BYTES));
        let ahead = all_of(&share, Holding::Ahead);
        assert_eq!(ahead.len(), 5);
        drop(ahead);
        let serves = all_of(&share, Holding::Serve);
        assert_eq!(serves.len(), 4);
        assert_eq!(all_of(&share, Holding::Ahead).len(), 1);
        assert_eq!(all_of(&share, Holding::Tee).len(), 2);
        drop(serves);
        let tees = all_of(&share, Holding::Tee);
        assert_eq!(tees.len(), 6);
        assert_eq!(all_of(&share, Holding::Serve).len(), 1);
    }

    #[test]
    fn the_smallest_pool_has_a_place_for_one_of_each() {
        let share = Rc::new(Share::new(4 * u64::from(MIB)));
        let tees = all_of(&share, Holding::Tee);
        let serves = all_of(&share, Holding::Serve);
        assert_eq!((tees.len(), serves.len()), (1, 1));
        assert!(share.take(Holding::Ahead).is_none());
    }

    proptest! {
        #[test]
        fn all_together_never_hold_more_than_their_part(
            steps in prop::collection::vec((0..3_usize, any::<bool>()), 0..200),
        ) {
            let share = Rc::new(Share::new(POOL_BYTES));
            let mut held = Vec::new();
            for (index, takes) in steps {
                if takes {
                    held.extend(share.take(Holding::ALL[index]));
                } else if !held.is_empty() {
                    drop(held.swap_remove(index % held.len()));
                }
                let bytes: u64 = held.iter().map(|one: &Held| one.holding.bytes()).sum();
                prop_assert_eq!(bytes, share.held_bytes());
                prop_assert!(bytes <= POOL_BYTES / COPY_SHARES);
            }
            // Whatever else is under way, one of each fits.
            for holding in [Holding::Serve, Holding::Tee] {
                if share.count(holding).get() == 0 {
                    prop_assert!(share.take(holding).is_some());
                }
            }
        }
    }
}
