//! Connections between nodes: who the other end is, and bytes to and from it as calls
//! and answers. Knows nodes and bytes; what a call says is for the rooms above.
//!
//! ```text
//! connection   preamble (8 bytes, open) | proof of both ends | frames
//! ```
//! A connection belongs to the executor that made or accepted it. One task drives it
//! in both directions; when either breaks, the connection ends, and with it every call
//! on it. Nothing is repeated here: whether a lost call may be repeated is known above.
//!
//! Floor: services.
//! Uses: base, disk, net, quota, runtime, telemetry
//! Crates: rcgen, sha2, tokio

mod auth_error;
mod authority;
mod backoff;
mod calls;
mod certificate;
mod challenge;
mod connect;
mod connection;
mod decoder;
mod drive;
mod error;
mod files;
mod frame;
mod gather;
mod gather_message;
#[cfg(test)]
mod golden_test;
mod identity;
mod join_secret;
mod link;
mod links;
mod listener;
mod liveness;
mod material;
mod node;
mod outbox;
mod plain;
mod preamble;
mod renewal;
mod secured;
mod security;
mod serve;
mod service;
#[cfg(test)]
pub(crate) mod testing;
mod token;

pub use auth_error::{AuthError, Verdict};
pub use authority::{Authority, AuthorityError};
pub use calls::Calls;
pub use certificate::{Credentials, Fingerprint};
pub use connect::{authenticate, connect};
pub use error::{CallError, ConnectError, Refusal, RefusalCode};
pub use files::{ClusterFiles, FilesError, OperatorFiles, read_key_file};
pub use gather::{GatherError, addresses_of, ask_standing};
pub use gather_message::Standing;
pub use identity::{ClusterId, ClusterIdError, PeerIdentity};
pub use join_secret::JoinSecret;
pub use link::Link;
pub use links::Links;
pub use listener::{HandedOver, Newcomer, NewcomerPlace, PeerListener};
pub use material::{MaterialError, TlsMaterial};
pub use node::PeerNode;
pub use preamble::{PreambleError, Purpose};
pub use renewal::{ends_soon, renewed};
pub use security::{Security, SharedSecret, WeakSecret};
pub use serve::{Call, serve_calls};
pub use service::Service;
pub use token::{JoinToken, JoinTokenError};
