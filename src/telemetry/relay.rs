//! Counters of upload sessions that one node works on for another.

use super::exposition::Page;
use super::value::Counter;

/// What relays of uploads count, on both ends.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    /// Requests that were taken to the node that owns the session.
    pub requests: Counter,
    /// Those of them that the owner did not answer.
    pub failures: Counter,
    /// Bytes of uploads sent to the owners.
    pub sent_bytes: Counter,
    /// Requests of other nodes for sessions of this one.
    pub served_requests: Counter,
    /// Those of them that broke off.
    pub served_failures: Counter,
    /// Bytes of uploads that other nodes brought.
    pub received_bytes: Counter,
}

impl RelayMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.counter(
            "windlass_relay_requests_total",
            "Requests for upload sessions of other nodes, taken there.",
            &self.requests,
        );
        page.counter(
            "windlass_relay_failures_total",
            "Relayed requests that the owner of the session did not answer.",
            &self.failures,
        );
        page.counter(
            "windlass_relay_sent_bytes_total",
            "Bytes of uploads sent to the nodes that own their sessions.",
            &self.sent_bytes,
        );
        page.counter(
            "windlass_relay_served_requests_total",
            "Requests that other nodes relayed to sessions of this one.",
            &self.served_requests,
        );
        page.counter(
            "windlass_relay_served_failures_total",
            "Requests relayed to this node that broke off.",
            &self.served_failures,
        );
        page.counter(
            "windlass_relay_received_bytes_total",
            "Bytes of uploads that other nodes brought to sessions of this one.",
            &self.received_bytes,
        );
    }
}
