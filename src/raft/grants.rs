//! Which nodes may trust their state, as the leader knows it: every mark but the
//! leader's own comes from a read index that a leader gave.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

use super::mark::MARK_END;

/// When each node last asked this one for a read index. Lives on the raft core, and
/// means something while this node leads.
#[derive(Debug, Default)]
pub(super) struct Grants {
    asked_at: RefCell<BTreeMap<u64, Instant>>,
    /// The term in which it leads, and when it was known to.
    led: Cell<Option<(u64, Instant)>>,
}

/// What a delete has to outlast.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outstanding {
    /// Nodes that may trust a state, each until its time, unless they have applied
    /// the delete.
    pub nodes: Vec<(u64, Instant)>,
    /// Until then any node may, by the word of an earlier leader.
    pub any_until: Option<Instant>,
}

impl Grants {
    /// Notes that a node asks. To be called before the index is looked up: the mark of
    /// the node is older than this.
    pub(super) fn note(&self, node: u64, now: Instant) {
        self.asked_at.borrow_mut().insert(node, now);
    }

    /// Notes that this node leads in a term. Whoever led before it gave its last read
    /// index before: a majority that follows this one confirmed no earlier one since.
    pub(super) fn lead(&self, term: u64, now: Instant) {
        if self.led.get().is_none_or(|(known, _)| known != term) {
            self.led.set(Some((term, now)));
        }
    }

    /// Marks that may be older than this moment, while this node leads in `term`.
    pub(super) fn outstanding(&self, term: u64, now: Instant) -> Outstanding {
        self.lead(term, now);
        let mut asked_at = self.asked_at.borrow_mut();
        asked_at.retain(|_, at| *at + MARK_END > now);
        let ends = asked_at.iter().map(|(node, at)| (*node, *at + MARK_END));
        let led_until = self.led.get().map(|(_, since)| since + MARK_END);
        Outstanding {
            nodes: ends.collect(),
            any_until: led_until.filter(|until| *until > now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use std::time::Duration;

    #[test]
    fn a_delete_outlasts_who_asked_lately_and_what_an_earlier_leader_gave() {
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let grants = Grants::default();
        grants.lead(3, at(0));
        grants.lead(3, at(900));
        let young = grants.outstanding(3, at(1000));
        assert_eq!((young.nodes.len(), young.any_until), (0, Some(at(1100))));
        grants.note(7, at(1000));
        grants.note(8, at(1500));
        grants.note(7, at(1200));
        let both = grants.outstanding(3, at(2000));
        assert_eq!(both.nodes, [(7, at(2300)), (8, at(2600))]);
        assert_eq!(both.any_until, None);
        assert_eq!(grants.outstanding(3, at(2300)).nodes, [(8, at(2600))]);
        // A term that nobody noted begins when it is asked about.
        let next = grants.outstanding(4, at(5000));
        assert_eq!((next.nodes.len(), next.any_until), (0, Some(at(6100))));
    }
}
