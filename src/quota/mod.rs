//! How much a client may ask: the rate of its requests, its uploads at a time, and how
//! often it may be wrong about a password.
//!
//! One [`Quotas`] serves all shards of a node. It has one size, whoever comes, and
//! atomics alone change it: no lock, no message, one line of cache for each look.
//!
//! Floor: rules.
//! Uses: base, telemetry
//! Crates: -

mod buckets;
mod places;
mod quotas;

pub use places::Place;
pub use quotas::{Allowance, Caller, Exceeded, Options, Quotas, Rate, UploadPlaces};
