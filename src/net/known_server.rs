//! TLS to a server whose very certificate is known: for commands that speak to a node
//! whose configuration they have read. Blocks.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use futures_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use futures_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use futures_rustls::rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    SignatureScheme, StreamOwned,
};

use super::tls::{builder_of_client, provider};
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
        let verifier = SameCertificate {
            certificate,
            algorithms: provider().signature_verification_algorithms,
        };
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

/// Takes one certificate, whatever it says, and the proof that its key is there.
struct SameCertificate {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for SameCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for SameCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SameCertificate").finish_non_exhaustive()
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
