//! Counters of the connections between nodes.

use super::exposition::Page;
use super::family::Family;
use super::histogram::DurationHistogram;
use super::label_peer::{CallEnd, HandshakeFailure, PeerService};
use super::value::{Counter, Gauge};

/// What the connections to other nodes count. Bytes are those within TLS.
#[derive(Debug, Default)]
pub struct PeerMetrics {
    /// Open connections, from here and from there.
    pub connections: Gauge,
    /// Connections that passed their handshake.
    pub connections_opened: Counter,
    /// Those of them that the kernel encrypts.
    pub kernel_connections: Counter,
    /// Connections refused before their first frame.
    pub handshake_failures: Family<HandshakeFailure, Counter>,
    /// Calls made to other nodes.
    pub calls: Family<(PeerService, CallEnd), Counter>,
    /// From a call to its answer.
    pub call_seconds: Family<PeerService, DurationHistogram>,
    /// Calls of other nodes served here.
    pub served_calls: Family<(PeerService, CallEnd), Counter>,
    /// Connections ended because a frame was damaged or of an unknown form.
    pub broken_frames: Counter,
    /// Bytes received from other nodes.
    pub received_bytes: Counter,
    /// Bytes sent to other nodes.
    pub sent_bytes: Counter,
}

impl PeerMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        self.write_connections(page);
        self.write_calls(page);
    }

    fn write_connections(&self, page: &mut Page) {
        page.gauge(
            "windlass_peer_connections",
            "Open connections to other nodes, from here and from there.",
            &self.connections,
        );
        page.counter(
            "windlass_peer_connections_opened_total",
            "Connections between nodes that passed their handshake.",
            &self.connections_opened,
        );
        page.counter(
            "windlass_peer_kernel_tls_connections_total",
            "Connections between nodes that the kernel encrypts.",
            &self.kernel_connections,
        );
        page.counters(
            "windlass_peer_handshake_failures_total",
            "Connections between nodes refused before their first frame.",
            &self.handshake_failures,
        );
        page.counter(
            "windlass_peer_broken_frames_total",
            "Connections ended because a frame was damaged or of an unknown form.",
            &self.broken_frames,
        );
        page.counter(
            "windlass_peer_received_bytes_total",
            "Bytes received from other nodes.",
            &self.received_bytes,
        );
        page.counter(
            "windlass_peer_sent_bytes_total",
            "Bytes sent to other nodes.",
            &self.sent_bytes,
        );
    }

    fn write_calls(&self, page: &mut Page) {
        page.counters(
            "windlass_peer_calls_total",
            "Calls made to other nodes.",
            &self.calls,
        );
        page.durations_of(
            "windlass_peer_call_seconds",
            "Time from a call to another node to its answer.",
            &self.call_seconds,
        );
        page.counters(
            "windlass_peer_served_calls_total",
            "Calls of other nodes served here.",
            &self.served_calls,
        );
    }
}
