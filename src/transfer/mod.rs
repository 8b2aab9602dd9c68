//! Content of blobs between nodes, as it is: fetched from one that has it, or taken in
//! while another node's client still sends it.
//!
//! ```text
//! dialer     request: so many bytes of a blob  |  take what follows
//! listener   header, bytes                     |  ready; later held, or why not
//! ```
//! Knows ranges, records and their limits; what a blob is and whether it is whole is
//! for the rooms above. A connection belongs to the executor that uses it.
//!
//! Floor: services.
//! Uses: base, net, oci, peer, runtime, telemetry
//! Crates: -

mod error;
mod fetch;
#[cfg(test)]
mod golden_test;
mod message;
mod serve;
mod serve_take;
mod take;
mod tee;

pub use error::{ServeTransferError, TransferError};
pub use fetch::{Incoming, Transfers};
pub use message::{TransferRefusal, TransferRequest};
pub use serve::{Asked, TransferAnswer, TransferServer};
pub use serve_take::{Arriving, Taking};
pub use take::TakeRequest;
pub use tee::Outgoing;
