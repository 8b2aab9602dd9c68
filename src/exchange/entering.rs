//! The connections of one listener of a shard that have not been let in yet, bounded in
//! number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::deadline::{Cutter, Deadline};

/// Places of connections on their way in, the oldest first.
#[derive(Debug)]
pub struct Entering {
    entrants_max: usize,
    places: RefCell<BTreeMap<u64, Cutter>>,
    next: Cell<u64>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    entering: &'a Entering,
    number: u64,
}

impl Entering {
    /// Room for so many.
    #[must_use]
    pub fn new(entrants_max: usize) -> Self {
        Self {
            entrants_max,
            places: RefCell::default(),
            next: Cell::default(),
        }
    }

    /// Takes a place for the connection of `deadline`. When all are taken, the oldest
    /// connection loses its own: its time is up.
    pub(super) fn enter(&self, deadline: &Deadline) -> Place<'_> {
        let mut places = self.places.borrow_mut();
        if places.len() >= self.entrants_max
            && let Some((_, oldest)) = places.pop_first()
        {
            oldest.cut();
        }
        let number = self.next.get();
        self.next.set(number + 1);
        places.insert(number, deadline.cutter());
        Place {
            entering: self,
            number,
        }
    }
}

impl Place<'_> {
    /// Whether a later connection has taken it over.
    pub(super) fn is_lost(&self) -> bool {
        !self.entering.places.borrow().contains_key(&self.number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.entering.places.borrow_mut().remove(&self.number);
    }
}
