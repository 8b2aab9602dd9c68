//! Sockets: listeners, streams, TLS, sending files without copying them.
//!
//! Floor: machinery.
//! Uses: base, runtime
//! Crates: futures_rustls, glommio, rustix, webpki

mod error;
mod listener;
mod stream;
mod tls;
mod tls_error;
mod tls_material;
mod tls_stream;
mod zero_copy;

pub use error::{Error, SendFileError};
pub use listener::Listener;
pub use stream::Stream;
pub use tls::{TlsClient, TlsServer, check_identity, check_identity_in};
pub use tls_error::{CertificateFault, TlsError};
pub use tls_material::{TlsAuthorities, TlsIdentity, TlsMaterialError};
pub use tls_stream::TlsStream;
