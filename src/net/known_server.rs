//! TLS to a server whose very certificate is known: for commands that speak to a node
//! whose configuration they have read. Blocks.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};

use super::tls::{JudgingVerifier, builder_of_client};
use super::tls_material::TlsMaterialError;

/// Stands where a name must; the certificate is compared as a whole.
const ANY_NAME: &str = "windlass";

/// A server, by its certificate. Cheap to clone.
#[derive(Clone)]
pub struct KnownServer(Arc<ClientConfig>);

/// A connection to such a server; the handshake comes with the first byte.
pub struct KnownStream(StreamOwned<ClientConnection, TcpStream>);

impl KnownServer {
    /// The server whose certificate is the first in a PEM text.
    pub fn of_pem(chain: &[u8]) -> Result<Self, TlsMaterialError> {
        let certificate = CertificateDer::from_pem_slice(chain).map_err(TlsMaterialError::Pem)?;
        // Whatever it says.
        let verifier = JudgingVerifier::new(Box::new(move |own, _, _| {
            let is_known = *own == certificate;
            let differs = || CertificateError::ApplicationVerificationFailure.into();
            is_known.then_some(()).ok_or_else(differs)
        }));
        let config = builder_of_client()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Speaks TLS on a connection.
    ///
    /// - Errors: the library has no state for it.
    pub fn over(&self, socket: TcpStream) -> io::Result<KnownStream> {
        let name = ServerName::try_from(ANY_NAME).map_err(io::Error::other)?;
        let state = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(KnownStream(StreamOwned::new(state, socket)))
    }
}

impl Read for KnownStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for KnownStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl fmt::Debug for KnownServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownServer").finish_non_exhaustive()
    }
}

impl fmt::Debug for KnownStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownStream").finish_non_exhaustive()
    }
}
