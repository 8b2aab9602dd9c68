//! Every metric of the process.

use super::access::AccessMetrics;
use super::audit::AuditMetrics;
use super::blob::BlobMetrics;
use super::exposition::Page;
use super::http::HttpMetrics;
use super::journal::JournalMetrics;
use super::machine::MachineMetrics;
use super::peer::PeerMetrics;
use super::process::Process;
use super::relay::RelayMetrics;
use super::replication::ReplicationMetrics;
use super::tls::TlsMetrics;
use super::value::Counter;

/// Every metric of the process. Made once by the server, shared as an `Arc`; all
/// fields are atomics, so any thread counts through a plain reference.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Counted by the doors.
    pub http: HttpMetrics,
    /// Counted by the guards of the doors.
    pub access: AccessMetrics,
    /// Counted by the audit file.
    pub audit: AuditMetrics,
    /// Counted at the entrance of the doors.
    pub tls: TlsMetrics,
    /// Counted by the blob store.
    pub blob: BlobMetrics,
    /// Counted by memory, disk and runtime.
    pub machine: MachineMetrics,
    /// Counted by the journal and the raft core.
    pub journal: JournalMetrics,
    /// Counted by the connections to other nodes.
    pub peer: PeerMetrics,
    /// Counted by the copies of blobs.
    pub replication: ReplicationMetrics,
    /// Counted by relays of uploads.
    pub relay: RelayMetrics,
    /// Lines the log lost because whoever reads it is too slow.
    pub log_lines_dropped: Counter,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Renders all metrics as Prometheus reads them; the content type is
    /// [`METRICS_CONTENT_TYPE`](super::METRICS_CONTENT_TYPE).
    ///
    /// Reads three small files of `/proc/self`, which never wait for a disk.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.info(
            "windlass_build_info",
            "Version of the running program.",
            concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        );
        self.http.write(&mut page);
        self.access.write(&mut page);
        self.audit.write(&mut page);
        self.tls.write(&mut page);
        self.blob.write(&mut page);
        self.machine.write(&mut page);
        self.journal.write(&mut page);
        self.peer.write(&mut page);
        self.replication.write(&mut page);
        self.relay.write(&mut page);
        page.counter(
            "windlass_log_lines_dropped_total",
            "Lines the log lost because whoever reads it is too slow.",
            &self.log_lines_dropped,
        );
        Process::read().write(&mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names follow the conventions of Prometheus: the unit last, counters end
    /// in `_total`, no name twice.
    #[test]
    fn names_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for line in Metrics::new().render().lines() {
            let Some(declaration) = line.strip_prefix("# TYPE ") else {
                continue;
            };
            let (name, kind) = declaration.split_once(' ').expect("a name and a kind");
            assert!(names.insert(name.to_owned()), "{name} is written twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let prefixes = ["windlass_", "process_"];
            assert!(prefixes.iter().any(|each| name.starts_with(each)), "{name}");
        }
        assert!(names.len() > 30);
    }
}
