//! Memory for direct I/O: aligned buffers from one budget per shard.
//!
//! Every byte that moves between a socket and the disk passes through here, so
//! that the number of slow clients never decides how much memory a node needs.
//!
//! Floor: machinery.
//! Uses: base, telemetry, runtime
//! Crates: glommio

mod budget;
mod buffer;
mod pool;

pub use budget::Permit;
pub use buffer::{Buffer, SharedBuffer};
pub use pool::{Pool, PoolUse, region_bytes};
