//! What an operator may set: the schema with its defaults, and how files,
//! environment and command line become one configuration.
//!
//! Floor: roof.
//! Uses: base, telemetry, oci, auth
//! Crates: rustix, serde_json

mod ack;
mod audit;
mod auth;
mod check;
mod check_cluster;
mod cluster;
mod environment;
mod error;
mod file;
mod jwks;
mod keys;
mod layer;
mod limits;
mod load;
mod place;
mod schema;
mod tls;
mod units;

pub use ack::{AckLevel, AckPrefix, AckPrefixError};
pub use audit::AuditSection;
pub use auth::{AuthMode, AuthSection, IdentitySection};
pub use cluster::{ClusterSection, PeerSecurity, Secret};
pub use error::ConfigError;
pub use file::read_secret;
pub use jwks::{JwksSection, KeysAt};
pub use limits::{AllowanceSection, LimitsSection};
pub use load::{Sources, load};
pub use schema::{
    Config, DeleteSection, HttpSection, JournalSection, LogSection, RuntimeSection, StorageSection,
};
pub use tls::{
    ClientCertificates, ClientIdentity, KernelEncryption, ProxySection, ProxyWord, TlsSection,
};
pub use units::{ByteSize, Period, UnitError};
