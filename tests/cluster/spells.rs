//! When something was done to nodes, and what that may explain.

use std::net::SocketAddr;

use super::client::Run;

/// What began while a fault was on has ended by so long after it, in microseconds: it is
/// given up, or a leader was found and the nodes know each other again.
pub(crate) const CALM_AFTER: u64 = 16_000_000;

/// When something was done to nodes, and to which: those that it concerns.
#[derive(Debug, Default)]
pub(crate) struct Spells(Vec<Spell>);

#[derive(Debug)]
struct Spell {
    begin: u64,
    end: Option<u64>,
    nodes: Vec<SocketAddr>,
}

impl Spells {
    pub(crate) fn begin(&mut self, now: u64, nodes: Vec<SocketAddr>) {
        self.0.push(Spell {
            begin: now,
            end: None,
            nodes,
        });
    }

    pub(crate) fn end(&mut self, now: u64) {
        if let Some(Spell {
            end: end @ None, ..
        }) = self.0.last_mut()
        {
            *end = Some(now);
        }
    }

    /// Whether one of those that concern a node may explain what it was asked between
    /// `start` and `end`, when it takes `after` to end.
    pub(crate) fn may_explain(
        &self,
        node: SocketAddr,
        (start, end): (u64, u64),
        after: u64,
    ) -> bool {
        self.0.iter().any(|spell| {
            let is_over = spell.end.is_some_and(|over| over + after < start);
            spell.nodes.contains(&node) && spell.begin <= end && !is_over
        })
    }
}

/// When faults were on: their begin, their end, and whether a disk was full.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(u64, Option<u64>, bool)>);

impl Faults {
    /// Whether one may explain that a node cannot serve.
    pub(crate) fn may_explain(&self, now: u64) -> bool {
        let is_on = |end: &Option<u64>| end.is_none_or(|end| now <= end + CALM_AFTER);
        self.0.iter().any(|(_, end, _)| is_on(end))
    }

    /// Whether a full disk may explain that an upload fails.
    pub(crate) fn may_explain_by_disk(&self, now: u64) -> bool {
        let full = self.0.iter().filter(|(_, _, is_disk_full)| *is_disk_full);
        Self(full.copied().collect()).may_explain(now)
    }
}

impl Run {
    /// From now on these nodes may be kept from a quorum.
    pub(crate) fn begin_outage(&self, nodes: Vec<SocketAddr>) {
        let now = self.now();
        self.log().outages.begin(now, nodes);
    }

    /// They are no more.
    pub(crate) fn end_outage(&self) {
        let now = self.now();
        self.log().outages.end(now);
    }

    /// From now on answers may say that a node cannot serve.
    pub(crate) fn begin_fault(&self, is_disk_full: bool) {
        let now = self.now();
        self.log().faults.0.push((now, None, is_disk_full));
    }

    /// From a while after this on they may not.
    pub(crate) fn end_fault(&self) {
        let now = self.now();
        if let Some((_, end, _)) = self.log().faults.0.last_mut() {
            *end = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_explains_what_its_nodes_were_asked_until_a_while_after_it() {
        let [node, other] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut outages = Spells::default();
        assert!(!outages.may_explain(node, (0, 9), 5));
        outages.begin(10, vec![node]);
        assert!(!outages.may_explain(node, (0, 9), 5));
        assert!(outages.may_explain(node, (5, 10), 5));
        assert!(
            outages.may_explain(node, (1 << 40, 1 << 41), 5),
            "it goes on"
        );
        assert!(!outages.may_explain(other, (5, 10), 5), "it is not cut off");
        outages.end(20);
        assert!(outages.may_explain(node, (25, 26), 5));
        assert!(!outages.may_explain(node, (26, 27), 5));
    }

    #[test]
    fn a_fault_explains_refusals_until_a_while_after_it_and_a_full_disk_those_of_uploads() {
        let mut faults = Faults::default();
        assert!(!faults.may_explain(0));
        faults.0.push((10, None, false));
        assert!(faults.may_explain(11) && !faults.may_explain_by_disk(11));
        faults.0[0].1 = Some(20);
        assert!(faults.may_explain(20 + CALM_AFTER));
        assert!(!faults.may_explain(21 + CALM_AFTER));
        faults.0.push((30, None, true));
        assert!(faults.may_explain(1 << 40) && faults.may_explain_by_disk(1 << 40));
    }
}
