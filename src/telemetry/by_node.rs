//! The same metric once per node of the cluster, made room for at the start.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::family::Family;
use super::label::LabelSet as _;
use super::label_peer::FetchFailure;
use super::value::Counter;

/// Nodes that have metrics of their own, those that were met first: more than any
/// cluster is expected to have, so that the number of series stays bounded.
const NODES_MAX: usize = 64;

/// What is written for all nodes beyond [`NODES_MAX`], and for none in particular.
const OTHERS: &str = "other";

/// One metric `M` per node. Any thread may ask for a node's; its place is its until
/// the process ends, also when it leaves the cluster.
#[derive(Debug)]
pub(super) struct ByNode<M> {
    places: Box<[Place<M>]>,
    others: M,
}

#[derive(Debug, Default)]
struct Place<M> {
    /// 0 for nobody: node numbers count from 1.
    node: AtomicU64,
    metric: M,
}

impl<M: Default> Default for ByNode<M> {
    fn default() -> Self {
        Self {
            places: (0..NODES_MAX).map(|_| Place::default()).collect(),
            others: M::default(),
        }
    }
}

impl<M> ByNode<M> {
    /// The metric of `node`; with 0 that of no node in particular.
    pub(super) fn of(&self, node: u64) -> &M {
        if node == 0 {
            return &self.others;
        }
        let order = Ordering::Relaxed;
        let is_its = |place: &&Place<M>| {
            let taken = match place.node.load(order) {
                0 => place.node.compare_exchange(0, node, order, order),
                taken => Err(taken),
            };
            taken.is_ok() || taken == Err(node)
        };
        let place = self.places.iter().find(is_its);
        place.map_or(&self.others, |place| &place.metric)
    }

    /// Every node that has a metric, and last, as 0, all others.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &M)> {
        let places = self.places.iter();
        let places = places.map(|place| (place.node.load(Ordering::Relaxed), &place.metric));
        let others = std::iter::once((0, &self.others));
        places.take_while(|(node, _)| *node != 0).chain(others)
    }
}

/// Bytes, and how fast they went a moment ago.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) bytes: Counter,
    measured_bytes: AtomicU64,
    rate: AtomicU64,
}

impl Flow {
    /// Takes what came since the last time for what comes in such a `period`. One
    /// thread does it.
    fn measure(&self, period: Duration) {
        let bytes = self.bytes.value();
        let before = self.measured_bytes.swap(bytes, Ordering::Relaxed);
        let came = u128::from(bytes.saturating_sub(before)) * 1000;
        let rate = came / period.as_millis().max(1);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.rate.store(rate, Ordering::Relaxed);
    }
}

/// What went between this node and another one.
#[derive(Debug, Default)]
pub(super) struct Exchanged {
    pub(super) received: Flow,
    pub(super) sent: Flow,
    pub(super) failures: Family<FetchFailure, Counter>,
}

/// What went between this node and another one, read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCopies {
    /// The other node; 0 for those that have no numbers of their own.
    pub node: u64,
    /// Bytes of blobs that came from it.
    pub received_bytes: u64,
    /// Bytes of them per second, a moment ago.
    pub received_rate: u64,
    /// Bytes of blobs that went to it.
    pub sent_bytes: u64,
    /// Bytes of them per second, a moment ago.
    pub sent_rate: u64,
    /// Fetches from it that failed.
    pub failures: u64,
}

impl ByNode<Exchanged> {
    pub(super) fn measure(&self, period: Duration) {
        for (_, exchanged) in self.entries() {
            exchanged.received.measure(period);
            exchanged.sent.measure(period);
        }
    }

    /// Every node with which anything was exchanged.
    pub(super) fn copies(&self) -> impl Iterator<Item = PeerCopies> {
        let read = |(node, exchanged): (u64, &Exchanged)| PeerCopies {
            node,
            received_bytes: exchanged.received.bytes.value(),
            received_rate: exchanged.received.rate.load(Ordering::Relaxed),
            sent_bytes: exchanged.sent.bytes.value(),
            sent_rate: exchanged.sent.rate.load(Ordering::Relaxed),
            failures: exchanged.failures.entries().map(|(_, n)| n.value()).sum(),
        };
        let is_any = |copies: &PeerCopies| {
            copies.received_bytes > 0 || copies.sent_bytes > 0 || copies.failures > 0
        };
        self.entries().map(read).filter(is_any)
    }

    /// The series of a number of each node, those that are not 0.
    pub(super) fn series(&self, name: &str, value: impl Fn(&Exchanged) -> u64) -> String {
        let mut text = String::new();
        let values = self.entries().map(|(node, each)| (node, value(each)));
        for (node, value) in values.filter(|(_, value)| *value > 0) {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name}{{{}}} {value}", label(node));
        }
        text
    }

    /// The series of failures, by node and reason.
    pub(super) fn failures(&self, name: &str) -> String {
        let mut text = String::new();
        for (node, exchanged) in self.entries() {
            let counted = exchanged.failures.entries();
            for (reason, failures) in counted.filter(|(_, failures)| failures.value() > 0) {
                let _ = write!(text, "{name}{{{},", label(node));
                reason.write(&mut text);
                let _ = writeln!(text, "}} {}", failures.value());
            }
        }
        text
    }
}

fn label(node: u64) -> String {
    if node == 0 {
        format!("node=\"{OTHERS}\"")
    } else {
        format!("node=\"{node}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_numbers_and_no_node_those_of_the_others() {
        let nodes = ByNode::<Exchanged>::default();
        nodes.of(7).received.bytes.add(100);
        nodes.of(2).received.bytes.add(1);
        nodes.of(7).received.bytes.add(20);
        nodes.of(7).failures.of(FetchFailure::Busy).count();
        nodes.of(0).failures.of(FetchFailure::Record).count();
        let series = nodes.series("x", |each| each.received.bytes.value());
        assert_eq!(series, "x{node=\"7\"} 120\nx{node=\"2\"} 1\n");
        let failures = nodes.failures("y");
        let expected = "y{node=\"7\",reason=\"busy\"} 1\ny{node=\"other\",reason=\"record\"} 1\n";
        assert_eq!(failures, expected);
        let copies: Vec<_> = nodes
            .copies()
            .map(|each| (each.node, each.failures))
            .collect();
        assert_eq!(copies, [(7, 1), (2, 0), (0, 1)]);
    }

    #[test]
    fn more_nodes_than_have_places_share_one() {
        let nodes = ByNode::<Exchanged>::default();
        for node in 1..=200 {
            nodes.of(node).sent.bytes.count();
        }
        assert_eq!(nodes.entries().count(), NODES_MAX + 1);
        assert_eq!(nodes.of(200).sent.bytes.value(), 136);
        let total: u64 = nodes.copies().map(|each| each.sent_bytes).sum();
        assert_eq!(total, 200);
    }

    #[test]
    fn threads_that_meet_a_node_at_once_give_it_one_place() {
        let nodes = ByNode::<Exchanged>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (1..=32).for_each(|node| nodes.of(node).sent.bytes.count()));
            }
        });
        let copies: Vec<_> = nodes.copies().collect();
        assert_eq!(copies.len(), 32);
        assert!(copies.iter().all(|each| each.sent_bytes == 4));
    }

    #[test]
    fn a_rate_is_of_the_last_period_alone() {
        let flow = Flow::default();
        let rate = || flow.rate.load(Ordering::Relaxed);
        flow.bytes.add(4000);
        flow.measure(Duration::from_secs(2));
        assert_eq!(rate(), 2000);
        flow.bytes.add(10);
        flow.measure(Duration::from_millis(500));
        assert_eq!(rate(), 20);
        flow.measure(Duration::from_secs(2));
        assert_eq!(rate(), 0);
    }
}
