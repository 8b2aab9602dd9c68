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
    /// Whether the kernel encrypts what it takes.
    pub kernel: Gauge,
    /// Connections of clients that it encrypts.
    pub kernel_connections: Counter,
    /// Those of them that ended because the client changed its key.
    pub key_updates: Counter,
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
            "windlass_kernel_tls",
            "1 where the kernel encrypts connections that carry content, 0 where this process encrypts all.",
            &self.kernel,
        );
        page.counter(
            "windlass_kernel_tls_connections_total",
            "Connections of clients that the kernel encrypts.",
            &self.kernel_connections,
        );
        page.counter(
            "windlass_kernel_tls_key_updates_total",
            "Connections ended because the client changed its key, which the kernel cannot follow.",
            &self.key_updates,
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
