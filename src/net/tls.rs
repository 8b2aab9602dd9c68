//! TLS over streams: 1.3 between nodes, 1.2 as well for clients. Handshakes are done
//! here; the kernel may go on with what follows.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use futures_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use futures_rustls::rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use futures_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature,
};
use futures_rustls::rustls::server::{
    NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
};
use futures_rustls::rustls::version::{TLS12, TLS13};
use futures_rustls::rustls::{
    CertificateError, CipherSuite, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error,
    RootCertStore, ServerConfig, SignatureScheme, WantsVerifier,
};
use futures_rustls::{TlsAcceptor, TlsConnector};

use super::kernel_tls::KernelTls;
use super::record_socket::RecordSocket;
use super::stream::Stream;
use super::tls_error::TlsError;
use super::tls_material::{TlsAuthorities, TlsIdentity, TlsMaterialError};
use super::tls_stream::TlsStream;
use crate::base::limits::{HANDSHAKE_TIMEOUT, TLS_BUFFER_BYTES_MAX};
use crate::base::units::to_usize;
use crate::runtime::timeout;

/// The dialing end's side of TLS. Cheap to clone, and shared between executors.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    kernel: KernelTls,
}

/// The accepting end's side of TLS. Cheap to clone, and shared between executors.
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    kernel: KernelTls,
}

impl TlsClient {
    /// A client that trusts whom the authorities vouch for, and proves itself with
    /// `own`.
    pub fn new(
        authorities: &TlsAuthorities,
        own: Option<&TlsIdentity>,
    ) -> Result<Self, TlsMaterialError> {
        let trusting = builder_of_client().with_root_certificates(authorities.roots());
        let config = match own {
            None => trusting.with_no_client_auth(),
            Some(own) => trusting
                .with_client_auth_cert(own.chain(), own.key())
                .map_err(TlsMaterialError::Key)?,
        };
        Ok(Self::of(config))
    }

    /// A client that trusts whom an authority vouches for that the other end shows and
    /// `is_trusted` knows. Names are not compared; the client proves nothing.
    pub fn pinned(is_trusted: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        let verifier = JudgingVerifier::pinned(is_trusted);
        let mut config = builder_of_client()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.enable_sni = false;
        Self::of(config)
    }

    fn of(mut config: ClientConfig) -> Self {
        // Every connection proves both ends anew.
        config.resumption = Resumption::disabled();
        Self {
            config: Arc::new(config),
            kernel: KernelTls::off(),
        }
    }

    /// Lets the kernel encrypt what it takes; only then can secrets leave the library.
    #[must_use]
    pub fn with_kernel(mut self, kernel: KernelTls) -> Self {
        Arc::make_mut(&mut self.config).enable_secret_extraction = kernel.is_on();
        Self { kernel, ..self }
    }

    /// Proves the other end to be `name`, within `HANDSHAKE_TIMEOUT`.
    ///
    /// - Errors: nothing of the other end was read.
    pub async fn connect(&self, name: &str, stream: Stream) -> Result<TlsStream, TlsError> {
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|_| TlsError::Name)?;
        let socket = RecordSocket::new(stream, self.kernel.is_on());
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connecting = connector.connect_with(name, socket, |session| {
            session.set_buffer_limit(Some(to_usize(TLS_BUFFER_BYTES_MAX)));
        });
        // Boxed: a handshake is large.
        let settling = Box::pin(async {
            let session = connecting.await.map_err(TlsError::of)?;
            TlsStream::settle(session.into(), self.kernel).await
        });
        let settled = timeout(HANDSHAKE_TIMEOUT, settling).await;
        settled.map_err(|_| TlsError::TimedOut)?
    }
}

/// Whom a listener for clients asks for a certificate.
#[derive(Debug, Clone, Copy)]
pub enum TlsClients<'a> {
    /// Nobody.
    Anybody,
    /// Everybody; whoever shows none comes in as well. One that the authorities do
    /// not vouch for ends the connection.
    Requested(&'a TlsAuthorities),
    /// Everybody, and only with one of theirs they come in.
    Required(&'a TlsAuthorities),
}

/// The one protocol that a listener for clients speaks, as ALPN names it.
const HTTP: &[u8] = b"http/1.1";

impl TlsServer {
    /// A listener for clients of all kinds: TLS 1.2 and 1.3, HTTP/1.1. A client that
    /// offers protocols without that one is refused; one that offers none is not.
    ///
    /// - Errors: also for a key that is too small.
    pub fn for_clients(
        own: &TlsIdentity,
        clients: TlsClients<'_>,
    ) -> Result<Self, TlsMaterialError> {
        own.check_strength()?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS12, &TLS13])
            .expect("invariant: the provider has suites of TLS 1.2 and 1.3");
        let verifier = |roots| WebPkiClientVerifier::builder_with_provider(roots, provider());
        let verifier = match clients {
            TlsClients::Anybody => None,
            TlsClients::Requested(by) => Some(verifier(by.roots()).allow_unauthenticated()),
            TlsClients::Required(by) => Some(verifier(by.roots())),
        };
        let trusting = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => {
                let verifier = verifier.build().map_err(TlsMaterialError::Authorities)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = trusting
            .with_single_cert(own.chain(), own.key())
            .map_err(TlsMaterialError::Key)?;
        config.alpn_protocols = vec![HTTP.to_vec()];
        config.ignore_client_order = true;
        Ok(Self::of(config))
    }

    /// A server that proves itself with `own`, and lets in only whom the authorities
    /// vouch for; anybody without them.
    pub fn new(
        own: &TlsIdentity,
        clients: Option<&TlsAuthorities>,
    ) -> Result<Self, TlsMaterialError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("invariant: the provider has suites of TLS 1.3");
        let trusting = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = clients.roots();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().map_err(TlsMaterialError::Authorities)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = trusting
            .with_single_cert(own.chain(), own.key())
            .map_err(TlsMaterialError::Key)?;
        Ok(Self::of(config))
    }

    fn of(mut config: ServerConfig) -> Self {
        // Nothing is resumed: nodes prove themselves on every connection, and the
        // clients of registries keep no sessions.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self {
            config: Arc::new(config),
            kernel: KernelTls::off(),
        }
    }

    /// Lets the kernel encrypt what it takes; only then can secrets leave the library.
    #[must_use]
    pub fn with_kernel(mut self, kernel: KernelTls) -> Self {
        Arc::make_mut(&mut self.config).enable_secret_extraction = kernel.is_on();
        Self { kernel, ..self }
    }

    /// Proves this end, and the other when that was asked for, within
    /// `HANDSHAKE_TIMEOUT`.
    ///
    /// - Errors: nothing of the other end was read.
    pub async fn accept(&self, stream: Stream) -> Result<TlsStream, TlsError> {
        let accepting = timeout(HANDSHAKE_TIMEOUT, self.shake_hands(stream));
        accepting.await.map_err(|_| TlsError::TimedOut)?
    }

    /// As [`TlsServer::accept`], for whoever keeps the time: takes as long as the other
    /// end likes.
    pub async fn shake_hands(&self, stream: Stream) -> Result<TlsStream, TlsError> {
        let socket = RecordSocket::new(stream, self.kernel.is_on());
        let accepting = self.acceptor().accept_with(socket, |session| {
            session.set_buffer_limit(Some(to_usize(TLS_BUFFER_BYTES_MAX)));
        });
        // Boxed: a handshake is large.
        let settling = Box::pin(async {
            let session = accepting.await.map_err(TlsError::of)?;
            TlsStream::settle(session.into(), self.kernel).await
        });
        settling.await
    }

    /// The library's part of it.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Checks what others will check: that the authorities vouch for the certificate, now,
/// as a server's.
pub fn check_identity(own: &TlsIdentity, authorities: &TlsAuthorities) -> Result<(), TlsError> {
    check_identity_in(own, authorities, Duration::ZERO)
}

/// As [`check_identity`], so long from now.
pub fn check_identity_in(
    own: &TlsIdentity,
    authorities: &TlsAuthorities,
    ahead: Duration,
) -> Result<(), TlsError> {
    let now = Duration::from_secs(UnixTime::now().as_secs());
    let then = UnixTime::since_unix_epoch(now.saturating_add(ahead));
    let chain = own.chain();
    let Some((certificate, between)) = chain.split_first() else {
        return Err(TlsError::of(io::ErrorKind::InvalidData.into()));
    };
    let algorithms = provider().signature_verification_algorithms;
    let roots = authorities.roots();
    verify(certificate, &roots, between, then, &algorithms)
        .map_err(|error| TlsError::of(io::Error::other(error)))
}

fn verify(
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    between: &[CertificateDer<'_>],
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms.all)
}

/// The library's own, with the cheapest of the equally good suites first. Clients of a
/// listener take what this end prefers, and between nodes the dialing end prefers it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let cheapest = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    let suites = &mut provider.cipher_suites;
    suites.sort_by_key(|each| !cheapest.contains(&each.suite()));
    Arc::new(provider)
}

pub(super) fn builder_of_client() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("invariant: the provider has suites of TLS 1.3")
}

/// What decides whether a server is trusted: the certificates that it shows, its own
/// first, and the time.
type Judge =
    dyn Fn(&CertificateDer<'_>, &[CertificateDer<'_>], UnixTime) -> Result<(), Error> + Send + Sync;

/// Trusts a server as `judge` says, whatever its name, when it proves over TLS 1.3 that
/// it has the key of its certificate.
pub(super) struct JudgingVerifier {
    judge: Box<Judge>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl JudgingVerifier {
    pub(super) fn new(judge: Box<Judge>) -> Self {
        Self {
            judge,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    /// Trusts an authority by a property of its certificate, which the server must show.
    fn pinned(is_trusted: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self::new(Box::new(move |own, shown, now| {
            let trusted = shown.iter().find(|each| is_trusted(each));
            let trusted = trusted.ok_or(CertificateError::UnknownIssuer)?;
            let mut roots = RootCertStore::empty();
            roots.add(trusted.clone().into_owned())?;
            verify(own, &roots, shown, now, &algorithms)
        }))
    }
}

impl ServerCertVerifier for JudgingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.judge)(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
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

impl fmt::Debug for JudgingVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JudgingVerifier").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tls_test.rs"]
mod tests;
