//! Places by name, a few for each, in a table of one size that all shards share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::units::{index_of, to_u64};

/// Counts that share one line of cache; one more, at its end, is for whoever finds none.
const WAY_COUNTS: usize = 7;
/// Bits of a count: far more places than a node has connections.
const COUNT_BITS: u32 = 24;
const COUNT_MASK_BITS: u64 = (1 << COUNT_BITS) - 1;

/// How many places each name has taken.
///
/// ```text
/// count   u40 tag of the name | u24 places taken; 0 is nobody's
/// ```
/// Names that find their set full of others share one count: whoever comes from many
/// addresses holds as many connections, and grows nothing. A name that is in both has
/// its places twice.
///
/// Owned by [`super::Quotas`]; any thread changes it, one word at a time.
#[derive(Debug)]
pub(super) struct Places {
    sets: Box<[Set]>,
    each_max: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    ways: [AtomicU64; WAY_COUNTS],
    shared: AtomicU64,
}

/// A place that was taken, given back when this is dropped. Crosses threads.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    name: u64,
    /// Which count of the set, the shared one being the last.
    way: usize,
}

impl Places {
    /// `sets`, a power of two, empty; a name may take `each_max`.
    ///
    /// - Panics: when `sets` is no power of two.
    pub(super) fn new(sets: usize, each_max: u32) -> Self {
        assert!(sets.is_power_of_two(), "sets are chosen by bits");
        Self {
            sets: std::iter::repeat_with(Set::default).take(sets).collect(),
            each_max: u64::from(each_max).clamp(1, COUNT_MASK_BITS - 1),
        }
    }

    /// A place; `None` when the name has all that it may have.
    ///
    /// - Shape: takes first and counts then, so that of several that come at once too
    ///   many may be refused, and never too many let in.
    pub(super) fn take(self: &Arc<Self>, name: u64) -> Option<Place> {
        let set = self.set_of(name);
        if set.taken(name) >= self.each_max {
            return None;
        }
        let way = set.raise(name);
        let place = Place {
            places: Arc::clone(self),
            name,
            way,
        };
        let taken = if way == WAY_COUNTS {
            set.shared.load(Ordering::SeqCst)
        } else {
            set.taken(name)
        };
        (taken <= self.each_max).then_some(place)
    }

    fn set_of(&self, name: u64) -> &Set {
        let index = index_of(name & (to_u64(self.sets.len()) - 1));
        let set = self.sets.get(index);
        set.expect("invariant: the number of sets is a power of two")
    }
}

impl Set {
    /// How many places a name has. Two counts can be its own for a while, when it came
    /// on two shards in the same instant.
    fn taken(&self, name: u64) -> u64 {
        let counts = self.ways.iter().map(|way| way.load(Ordering::SeqCst));
        counts
            .filter(|seen| *seen != 0 && seen >> COUNT_BITS == tag_of(name))
            .map(|seen| seen & COUNT_MASK_BITS)
            .sum()
    }

    /// Counts one more for a name and says where.
    ///
    /// - Shape: tries again only after another thread has got what it wanted.
    fn raise(&self, name: u64) -> usize {
        let tag = tag_of(name);
        loop {
            let counts = || self.ways.iter().map(|way| way.load(Ordering::SeqCst));
            let is_its = |seen: u64| seen != 0 && seen >> COUNT_BITS == tag;
            let its = counts().position(is_its);
            let index = its.or_else(|| counts().position(|seen| seen == 0));
            let Some((index, way)) = index.and_then(|index| Some((index, self.ways.get(index)?)))
            else {
                self.shared.fetch_add(1, Ordering::SeqCst);
                return WAY_COUNTS;
            };
            let seen = way.load(Ordering::SeqCst);
            let next = match seen {
                0 => tag << COUNT_BITS | 1,
                seen if is_its(seen) => seen + 1,
                // Somebody else has it by now.
                _ => continue,
            };
            let exchanged = way.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst);
            if exchanged.is_ok() {
                return index;
            }
        }
    }

    /// Counts one less where [`Set::raise`] counted one more.
    fn lower(&self, way: usize) {
        let Some(count) = self.ways.get(way) else {
            self.shared.fetch_sub(1, Ordering::SeqCst);
            return;
        };
        let less = |seen: u64| match seen & COUNT_MASK_BITS {
            0 | 1 => Some(0),
            _ => Some(seen - 1),
        };
        // Never fails: there is always something to put there.
        let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.set_of(self.name).lower(self.way);
    }
}

/// The upper bits of a name; the lower ones chose its set.
const fn tag_of(name: u64) -> u64 {
    name >> COUNT_BITS
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// A name in the first set of any table.
    fn name(number: u64) -> u64 {
        (number + 1) << 32
    }

    fn is_empty(places: &Places) -> bool {
        let set = &places.sets[0];
        let counts = set.ways.iter().chain([&set.shared]);
        counts.map(|way| way.load(Ordering::SeqCst)).sum::<u64>() == 0
    }

    #[test]
    fn a_name_has_its_places_and_leaves_the_others_theirs() {
        let places = Arc::new(Places::new(1, 2));
        let take = |number| places.take(name(number));
        let held = [take(0), take(0), take(1), take(1)];
        assert!(held.iter().all(Option::is_some));
        assert!(take(0).is_none() && take(1).is_none());
        drop(held);
        assert!(is_empty(&places));
        assert!(take(0).is_some());
    }

    #[test]
    fn whoever_finds_the_set_full_shares_what_one_may_have() {
        let places = Arc::new(Places::new(1, 2));
        let held: Vec<_> = (0..7).map(|number| places.take(name(number))).collect();
        let shared = [places.take(name(7)), places.take(name(8))];
        assert!(held.iter().chain(&shared).all(Option::is_some));
        assert!(places.take(name(9)).is_none());
        // Those who were there first keep theirs.
        assert!(places.take(name(3)).is_some());
        drop(shared);
        assert!(places.take(name(9)).is_some());
        drop(held);
        assert!(is_empty(&places));
    }

    #[test]
    fn threads_together_never_have_more_than_one_may() {
        const PLACES_MAX: u32 = 3;
        let places = Arc::new(Places::new(1, PLACES_MAX));
        let taken = [(); 10].map(|()| AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (places, taken) = (&places, &taken);
                scope.spawn(move || {
                    for round in 0..2000 {
                        let number = (thread + round) % 3;
                        let held: Vec<_> =
                            (0..2).filter_map(|_| places.take(name(number))).collect();
                        let count = u32::try_from(held.len()).unwrap();
                        let counter = &taken[usize::try_from(number).unwrap()];
                        let before = counter.fetch_add(count, Ordering::SeqCst);
                        assert!(before + count <= PLACES_MAX);
                        counter.fetch_sub(count, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(is_empty(&places));
    }
}
