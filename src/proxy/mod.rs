//! Who the client is, when a proxy stands between: what proxies say of the address of
//! their client, and which proxies are believed. Pure.
//!
//! Floor: rules (pure).
//! Uses: -
//! Crates: -

mod forwarded;
mod header;
mod header_v1;
mod header_v2;
mod node;
mod trust;

pub use header::{Behalf, HEADER_BYTES_MAX, Header, HeaderError};
pub use trust::{Proxies, Word};
