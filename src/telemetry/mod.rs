//! What the process says about itself: counters, histograms, their exposition
//! for Prometheus, and the log.
//!
//! Floor: ground.
//! Uses: base
//! Crates: -

mod access;
mod audit;
mod blob;
mod by_node;
mod exposition;
mod family;
mod followers;
mod histogram;
mod http;
mod journal;
mod label;
mod label_peer;
mod log;
mod machine;
mod metrics;
mod peer;
mod process;
mod relay;
mod replication;
mod tls;
mod value;

pub use access::AccessMetrics;
pub use audit::{AuditError, AuditLevel, AuditLog, AuditMetrics, AuditOptions};
pub use blob::BlobMetrics;
pub use by_node::PeerCopies;
pub use exposition::{METRICS_CONTENT_TYPE, Page};
pub use family::Family;
pub use followers::FollowerLags;
pub use histogram::{CountHistogram, DurationHistogram};
pub use http::HttpMetrics;
pub use journal::JournalMetrics;
pub use label::{
    AccessDecision, BlobForm, EntranceEnd, KeyFetchEnd, Label, LabelSet, Limit, LoginEnd,
    ProposalEnd, ReadPath, ReloadEnd, Route, StatusClass, SyncedThing, TimeoutPhase, TokenCheck,
    UploadEnd, Verb,
};
pub use label_peer::{
    CallEnd, FetchEnd, FetchFailure, HandshakeFailure, HoldEnd, PeerService, ServeEnd, TeeEnd,
};
pub use log::{Log, LogError, LogFormat, LogOptions, flush_log, start_log};
pub use machine::MachineMetrics;
pub use metrics::Metrics;
pub use peer::PeerMetrics;
pub use relay::RelayMetrics;
pub use replication::ReplicationMetrics;
pub use tls::TlsMetrics;
pub use value::{Counter, Gauge, Raised};
