//! Sockets: listeners, streams, TLS, sending files without copying them, fetching
//! documents.
//!
//! Floor: machinery.
//! Uses: base, runtime
//! Crates: futures_rustls, glommio, libc, nix, rcgen, rustix, rustls_native_certs, ureq, webpki, x509_parser, zeroize

mod certificate;
mod error;
mod fetch;
mod kernel_keys;
mod kernel_record;
mod kernel_stream;
mod kernel_tls;
mod known_server;
mod listener;
mod peer_certificate;
mod record_meter;
mod record_socket;
mod self_signed;
mod stream;
mod tls;
mod tls_error;
mod tls_material;
mod tls_stream;
mod zero_copy;

pub use certificate::Life;
pub use error::{Error, SendFileError};
pub use fetch::{FetchError, FetchLimits, Fetched, Fetcher};
pub use kernel_tls::KernelTls;
pub use known_server::{KnownServer, KnownStream};
pub use listener::Listener;
pub use peer_certificate::PeerCertificate;
pub use self_signed::{SelfSigned, SelfSignedError};
pub use stream::Stream;
pub use tls::{TlsClient, TlsClients, TlsServer, check_identity, check_identity_in};
pub use tls_error::{CertificateFault, TlsError};
pub use tls_material::{TlsAuthorities, TlsIdentity, TlsMaterialError};
pub use tls_stream::TlsStream;
