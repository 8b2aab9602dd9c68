//! What stands between a fresh connection and its first request: the word of a proxy,
//! and TLS.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::client::Client;
use super::deadline::Elapsed;
use super::door::Door;
use super::entering::Entering;
use crate::auth::{CertificateName, CertificateNames, Certified};
use crate::base::limits::HANDSHAKE_TIMEOUT;
use crate::http::{Refusal, Status};
use crate::net::{self, PeerCertificate, Stream, TlsError, TlsServer, TlsStream};
use crate::proxy::{Behalf, HEADER_BYTES_MAX, Header, HeaderError, Proxies};
use crate::telemetry::EntranceEnd;

/// First byte of every TLS connection: the record type of a handshake.
const TLS_RECORD_TAG: u8 = 0x16;
/// What is read to tell TLS from other protocols, and then put back: as much as most
/// clients begin with.
const FIRST_READ_BYTES: usize = 2048;

/// How connections of one listener are let in. Made by the server, for each shard; a
/// new certificate comes as a new entrance.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    /// Speaks TLS with everybody.
    pub tls: Option<TlsServer>,
    /// Proxies that are believed about their clients.
    pub proxies: Option<Arc<Proxies>>,
    /// Which names in a client's certificate say who it is, the best first; none when a
    /// certificate proves nothing but that it may ask.
    pub identities: Arc<[CertificateName]>,
}

/// Why a connection is not let in.
#[derive(Debug, thiserror::Error)]
enum EntranceError {
    #[error("the connection ended")]
    Gone,
    #[error("the connection broke")]
    Broken(#[from] net::Error),
    #[error(transparent)]
    Proxy(#[from] HeaderError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Entrance {
    /// Lets a connection in, within `HANDSHAKE_TIMEOUT`; `None` when it has been closed.
    /// Without TLS and proxies there is nothing to wait for.
    ///
    /// - Shape: runs on the shard of `door`, one task for each connection; when too many
    ///   are on their way through `entering`, the oldest is closed. A shutdown closes all.
    pub async fn admit(&self, stream: Stream, door: &Door, entering: &Entering) -> Option<Client> {
        let peer = stream.peer_address();
        let has_steps = self.tls.is_some() || self.announces(peer.ip());
        if !has_steps {
            return Some(self.believing(stream.into()));
        }
        let metrics = &door.metrics().tls;
        let _entering = metrics.entering.raised();
        let deadline = door.deadlines().enter();
        let place = entering.enter(&deadline);
        // Boxed: a handshake is large, and over when requests come.
        let passing = Box::pin(self.pass(stream));
        let passed = deadline.within_idle(HANDSHAKE_TIMEOUT, passing).await;
        let end = match &passed {
            Ok(Ok(_)) => EntranceEnd::Admitted,
            Ok(Err(error)) => end_of(error),
            Err(Elapsed) if place.is_lost() => EntranceEnd::Displaced,
            Err(Elapsed) => EntranceEnd::TimedOut,
        };
        metrics.entrances.of(end).count();
        match passed {
            Ok(Ok(client)) => {
                if client.transport.in_kernel().is_some() {
                    metrics.kernel_connections.count();
                }
                return Some(client);
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection was not let in"),
            Err(Elapsed) => tracing::debug!(%peer, ?end, "a connection was not let in"),
        }
        None
    }

    async fn pass(&self, mut stream: Stream) -> Result<Client, EntranceError> {
        let mut announced = Behalf::Itself;
        if self.announces(stream.peer_address().ip()) {
            announced = read_proxy_header(&mut stream).await?;
        }
        let mut client = match &self.tls {
            None => stream.into(),
            Some(tls) => shake_hands(tls, &self.identities, stream).await?,
        };
        match announced {
            Behalf::Client(announced) => client.address = announced.ip().to_canonical(),
            Behalf::Unknown => client.is_address_known = false,
            Behalf::Itself => {}
        }
        Ok(self.believing(client))
    }

    /// Whether connections from `peer` begin with the word of a proxy.
    fn announces(&self, peer: IpAddr) -> bool {
        let proxies = self.proxies.as_ref();
        proxies.is_some_and(|proxies| proxies.announces(peer))
    }

    /// The client as far as a proxy says who it is. The certificate is then the proxy's,
    /// and nobody logs in by it.
    fn believing(&self, client: Client) -> Client {
        let peer = client.address;
        let proxies = self.proxies.clone();
        let is_passed_on = proxies
            .as_ref()
            .is_some_and(|proxies| proxies.header_of(peer).is_some());
        Client {
            proxies,
            certified: client.certified.filter(|_| !is_passed_on),
            ..client
        }
    }
}

/// Reads what a trusted proxy says before anything else.
async fn read_proxy_header(stream: &mut Stream) -> Result<Behalf, EntranceError> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut filled = 0;
    loop {
        let space = bytes.get_mut(filled..).unwrap_or_default();
        match stream.read(space).await? {
            0 => return Err(EntranceError::Gone),
            count => filled += count,
        }
        let read = bytes.get(..filled).unwrap_or_default();
        if let Some(header) = Header::parse(read)? {
            stream.put_back(read.get(header.length_bytes..).unwrap_or_default());
            return Ok(header.behalf);
        }
    }
}

/// A client with the name by which its certificate proves who it is, if it does.
fn certified(stream: TlsStream, kinds: &[CertificateName]) -> Client {
    let named = if kinds.is_empty() {
        None
    } else {
        stream.peer_named()
    };
    let certified = named.and_then(|named| identify(named, kinds)).map(Rc::new);
    Client {
        certified,
        ..stream.into()
    }
}

/// Who the owner of a certificate is, by the first of `kinds` that is in it.
#[must_use]
pub fn identify(named: PeerCertificate, kinds: &[CertificateName]) -> Option<Certified> {
    let names = CertificateNames {
        dns: named.dns,
        uris: named.uris,
        emails: named.emails,
        common_name: named.common_name,
        fingerprint: named.fingerprint,
        ends_seconds: named.end_unix_seconds,
    };
    Certified::new(&names, kinds)
}

/// Does the TLS handshake. A client that speaks HTTP is told.
async fn shake_hands(
    tls: &TlsServer,
    identities: &[CertificateName],
    mut stream: Stream,
) -> Result<Client, EntranceError> {
    let mut first = [0; FIRST_READ_BYTES];
    let count = stream.read(&mut first).await?;
    let read = first.get(..count).unwrap_or_default();
    match read.first() {
        None => Err(EntranceError::Gone),
        Some(&TLS_RECORD_TAG) => {
            stream.put_back(read);
            Ok(certified(tls.shake_hands(stream).await?, identities))
        }
        Some(letter) if letter.is_ascii_uppercase() => {
            let reason = "This port speaks TLS; use https.";
            let mut client = Client::from(stream);
            client.refusal = Some(Refusal::new(Status::BAD_REQUEST, reason));
            Ok(client)
        }
        Some(_) => Err(TlsError::NotTls.into()),
    }
}

/// What an error is counted as.
const fn end_of(error: &EntranceError) -> EntranceEnd {
    match error {
        EntranceError::Gone | EntranceError::Broken(_) => EntranceEnd::Gone,
        EntranceError::Proxy(_) => EntranceEnd::ProxyHeader,
        EntranceError::Tls(error) => match error {
            TlsError::Broken(_) => EntranceEnd::Gone,
            TlsError::TimedOut => EntranceEnd::TimedOut,
            TlsError::NotTls => EntranceEnd::NotTls,
            TlsError::Certificate(_) => EntranceEnd::Certificate,
            TlsError::Name | TlsError::Refused(_) | TlsError::Protocol(_) => EntranceEnd::Refused,
        },
    }
}
