//! The door for other nodes: takes their connections, proves who they are, and
//! hands each to whoever serves its purpose; and how a node becomes one of them, by a
//! token or together with others of a list.
//!
//! Floor: doors
//! Uses: base, telemetry, oci, net, metadata, peer, raft, runtime
//! Crates: -

mod admission;
mod census;
mod door;
mod forming;
mod gathering;
mod hand_over;
mod join;
mod join_message;
mod operations;
mod report;
mod saying;
mod status;

pub use admission::Admitter;
pub use census::Census;
pub use door::Door;
pub use forming::{Plan, ordinal_of};
pub use gathering::{Gathered, gather};
pub use join::{JoinError, Joined, Wish, join};
pub use operations::{OperationError, Operations};
pub use report::{Activity, Consensus, Copies, Proposals, Report};
pub use status::{ClusterStatus, NodeStatus};
