//! Counters of the doors: connections, requests, bytes.

use super::exposition::Page;
use super::family::Family;
use super::histogram::DurationHistogram;
use super::label::{Route, StatusClass, TimeoutPhase, Verb};
use super::value::{Counter, Gauge};

/// What the exchange driver counts, for both doors.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections closed at accept because the shard holds its most.
    pub connections_refused: Counter,
    /// Requests being answered.
    pub requests_in_flight: Gauge,
    /// Requests answered.
    pub requests: Family<(Route, Verb, StatusClass), Counter>,
    /// From the end of the head to the end of the answer.
    pub request_seconds: Family<Route, DurationHistogram>,
    /// Bytes read from sockets.
    pub received_bytes: Counter,
    /// Bytes written to sockets.
    pub sent_bytes: Counter,
    /// Messages refused because they are not the strict dialect.
    pub refusals: Counter,
    /// Connections ended because a time was up.
    pub timeouts: Family<TimeoutPhase, Counter>,
    /// Requests whose handler panicked.
    pub panics: Counter,
}

impl HttpMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.gauge(
            "windlass_http_connections",
            "Open connections.",
            &self.connections,
        );
        page.counter(
            "windlass_http_connections_accepted_total",
            "Connections accepted.",
            &self.connections_accepted,
        );
        page.counter(
            "windlass_http_connections_refused_total",
            "Connections closed at accept because the shard holds its most.",
            &self.connections_refused,
        );
        page.gauge(
            "windlass_http_requests_in_flight",
            "Requests being answered.",
            &self.requests_in_flight,
        );
        page.counters(
            "windlass_http_requests_total",
            "Requests answered.",
            &self.requests,
        );
        page.durations_of(
            "windlass_http_request_seconds",
            "Time from the end of a request head to the end of its answer.",
            &self.request_seconds,
        );
        page.counter(
            "windlass_http_received_bytes_total",
            "Bytes read from sockets.",
            &self.received_bytes,
        );
        page.counter(
            "windlass_http_sent_bytes_total",
            "Bytes written to sockets.",
            &self.sent_bytes,
        );
        page.counter(
            "windlass_http_refusals_total",
            "Messages refused because they are not strict HTTP/1.1.",
            &self.refusals,
        );
        page.counters(
            "windlass_http_timeouts_total",
            "Connections ended because a time was up.",
            &self.timeouts,
        );
        page.counter(
            "windlass_http_panics_total",
            "Requests whose handler panicked.",
            &self.panics,
        );
    }
}
