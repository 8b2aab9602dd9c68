//! Who a caller is and what it may do: the rules, users and keys in force, the threads
//! that check passwords and fetch keys, and on each shard what was proved a moment ago.
//!
//! A [`Keeper`] reads everything at the start and again when a file changes; each
//! shard's [`Guard`] admits requests by what it read last. `auth` decides.
//!
//! Floor: services
//! Uses: base, telemetry, oci, http, runtime, disk, net, auth, metadata, quota
//! Crates: rustix, serde_json, sha2, tokio

mod admit;
mod book;
mod error;
mod fetch_keys;
mod hasher;
mod issue;
mod issuer_keys;
mod keeper;
mod limited;
mod named;
mod options;
mod pass;
mod proved;
mod refetch;
mod robots;
mod users;
mod verify;

pub use admit::{Guard, Origin, Refused};
pub use book::{Book, read_rules};
pub use error::{BookError, KeeperError};
pub use fetch_keys::KeysError;
pub use issue::{Grant, Granted, TokenRequest, Ungranted};
pub use keeper::{Keeper, Shared};
pub use named::Named;
pub use options::{IdentityIssuer, KeyFetch, KeysFrom, Mode, Options, TokenServer, UsersOptions};
pub use pass::Pass;
pub use refetch::KeyPace;
pub use robots::Robots;
