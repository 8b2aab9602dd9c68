//! The durable ground of consensus: two fjall databases and one thread.
//!
//! `log` holds raft's records, vote and purge point; only the journal thread
//! writes it, one batch and one sync for everything that waits. `state` holds
//! the applied state and is the second witness when the log is checked. This
//! room knows bytes and indexes, not what they mean.
//!
//! Floor: machinery.
//! Uses: base, telemetry
//! Crates: fjall, rustix

mod ahead;
mod check;
mod error;
mod failure;
mod group;
mod handle;
mod log;
mod mark;
mod open;
mod options;
mod record;
mod state;
mod tail;
mod thread;
mod torn;
mod view;
mod worker;

pub use error::{JournalError, OpenError};
pub use failure::Failure;
pub use handle::{Done, Journal};
pub use open::{Opened, Recovered, is_made, open};
pub use options::Options;
pub use state::{Applied, Changes, Generation, Put, State};
pub use view::StateView;

#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "flip_test.rs"]
mod flip_tests;
#[cfg(test)]
#[path = "format_test.rs"]
mod format_tests;
#[cfg(test)]
#[path = "reopen_test.rs"]
mod reopen_tests;
