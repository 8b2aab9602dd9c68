//! Counters of what stands before the first request: handshakes and certificates.

use super::exposition::Page;
use super::family::Family;
use super::label::{EntranceEnd, ReloadEnd};
use super::value::{Counter, Gauge};

/// What the listeners for clients count under TLS and behind proxies.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    /// Connections that have not been let in yet.
    pub entering: Gauge,
    /// How that ended.
    pub entrances: Family<EntranceEnd, Counter>,
    /// When the certificate ends that is shown now; 0 without TLS.
    pub certificate_expiry_unix_seconds: Gauge,
    /// Certificates and keys read again.
    pub reloads: Family<ReloadEnd, Counter>,
}

impl TlsMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.gauge(
            "windlass_entering_connections",
            "Connections in a TLS handshake or before the header of a proxy.",
            &self.entering,
        );
        page.counters(
            "windlass_entrances_total",
            "Ends of TLS handshakes and waits for the header of a proxy.",
            &self.entrances,
        );
        page.gauge(
            "windlass_tls_certificate_expiry_timestamp_seconds",
            "When the certificate ends that clients are shown; 0 without TLS.",
            &self.certificate_expiry_unix_seconds,
        );
        page.counters(
            "windlass_tls_reloads_total",
            "Times that certificate and key were read again.",
            &self.reloads,
        );
    }
}
