//! How much a client may ask: the rate of its requests, its uploads at a time, how often
//! it may be wrong about a password, and its [`Turns`] at what few may have at a time.
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
mod turns;

pub use places::Place;
pub use quotas::{Allowance, Caller, Exceeded, Namespace, Options, Quotas, Rate, UploadPlaces};
pub use turns::{Turn, Turns};
