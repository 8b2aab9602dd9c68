//! Consensus: openraft on its own executor over the journal, and the handle by
//! which shards propose changes and read the applied state.
//!
//! The order of everything that happened is decided here; what it means is
//! decided by `metadata::apply`. With one voter no message leaves the node; the
//! same log, votes and snapshots serve three and five.
//!
//! Floor: services.
//! Uses: base, journal, metadata, oci, runtime, telemetry
//! Crates: glommio, openraft, openraft_rt, serde_json, tokio

mod async_runtime;
mod channels;
mod core;
mod encoding;
mod handle;
mod identity;
mod keeper;
mod log_store;
mod network;
mod open;
mod options;
mod proposal;
mod recent;
mod snapshot;
mod snapshot_file;
mod start;
mod state_machine;
mod status;
mod types;
mod view;

pub use handle::{Handle, ReadError};
pub use identity::{Identity, IdentityError};
pub use open::{OpenError, Opened, open};
pub use options::Options;
pub use proposal::ProposeError;
pub use start::{StartError, start};
pub use status::Status;
pub use view::StateView;

#[cfg(test)]
#[path = "crash_test.rs"]
mod crash_tests;
#[cfg(test)]
#[path = "node_test.rs"]
mod node_tests;
#[cfg(test)]
#[path = "suite_test.rs"]
mod suite_tests;
