//! Consensus: openraft on its own executor over the journal, and the handle by
//! which shards propose changes and read the applied state.
//!
//! The order of everything that happened is decided here, what it means by
//! `metadata::apply`. With one voter no message leaves the node. Any node hands changes
//! to the leader; who belongs to the cluster is a wish in the state that it carries out.
//!
//! Floor: services.
//! Uses: base, disk, journal, metadata, oci, peer, runtime, telemetry
//! Crates: glommio, openraft, openraft_rt, serde_json, tokio

mod async_runtime;
mod barrier;
mod belonging;
mod blob_change;
mod candidates;
mod carry;
mod catching_up;
mod channels;
mod cluster_handle;
mod core;
mod encoding;
mod fill;
mod grants;
mod handle;
mod hearsay;
mod identity;
mod keeper;
mod log_store;
mod mark;
mod members;
mod membership;
mod message_append;
mod message_request;
mod message_snapshot;
mod message_vote;
mod network;
mod observer;
mod open;
mod options;
mod peers;
mod proposal;
mod read_rounds;
mod recent;
mod reply;
mod rpc;
mod snapshot;
mod snapshot_file;
mod snapshot_receive;
mod snapshot_send;
mod stall;
mod start;
mod state_machine;
mod status;
mod steward;
mod types;
mod view;

pub use blob_change::{BlobChange, BlobChanged};
pub use cluster_handle::Admission;
pub use fill::{Fill, Filled};
pub use handle::{Handle, ReadError};
pub use identity::{Identity, IdentityError};
pub use members::{Member, Members, MembersError};
pub use open::{OpenError, Opened, Outdated, open};
pub use options::Options;
pub use proposal::{Committed, ProposeError};
pub use rpc::RaftService;
pub use start::{Cluster, StartError, start};
pub use status::{Role, Status};
pub use view::StateView;

#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "node_test.rs"]
mod node_tests;
#[cfg(test)]
#[path = "suite_test.rs"]
mod suite_tests;
