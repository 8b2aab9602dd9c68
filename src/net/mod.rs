//! Sockets: listeners, streams, sending files without copying them.
//!
//! Floor: machinery.
//! Uses: base, runtime
//! Crates: glommio, rustix

mod error;
mod listener;
mod stream;
mod zero_copy;

pub use error::{Error, SendFileError};
pub use listener::Listener;
pub use stream::Stream;
