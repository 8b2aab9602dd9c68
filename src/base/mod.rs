//! What every room stands on: units, bounds, time, identities, byte codecs.
//!
//! Floor: ground.
//! Uses: -
//! Crates: -

pub mod clock;
pub mod codec;
pub mod identity;
pub mod limits;
pub mod mutant;
pub mod tomorrow;
pub mod units;

pub use clock::Clock;
pub use codec::{CodecError, Reader, Writer};
pub use identity::{RequestId, random_bytes};
pub use mutant::Mutant;
