//! Promises of a cluster, kept by real processes that form one, are killed, and
//! come back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on must fail"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests are blocking programs on a real clock"
)]

#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "each test binary uses its part of the support"
)]
mod support;

mod broken_disk;
mod certificates;
mod client;
mod deleting;
mod disk;
mod draining;
mod failover;
mod faults;
mod forming;
mod gathering;
mod gone;
mod handing;
mod held;
mod history;
mod kept;
mod learner;
mod mounts;
mod nemesis;
mod network;
mod power;
mod promises;
mod quorum;
mod relay;
mod repair;
mod serving;
mod skew;
mod slow_sync;
mod snapshot;
mod sources;
mod spells;
mod tee;
#[cfg(feature = "mutants")]
mod tomorrow;
mod turn;
mod undo;
mod voting;
