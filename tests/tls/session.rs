//! One connection under TLS, byte for byte.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::crypto::aws_lc_rs;
use futures_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::material::{NAME, Pair};

/// A silent server fails the test after this time.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How a client is.
#[derive(Clone)]
pub(crate) struct Wishes {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) protocols: Vec<Vec<u8>>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            versions: ALL_VERSIONS.to_vec(),
            protocols: Vec::new(),
        }
    }
}

/// A connection of a client.
pub(crate) struct Session {
    pub(crate) tls: StreamOwned<ClientConnection, TcpStream>,
}

/// The state of a client before its first byte.
pub(crate) fn client(trusted: &str, wishes: &Wishes, own: Option<&Pair>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&wishes.versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
            let chain: Result<Vec<_>, _> = chain.collect();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.unwrap(), key).unwrap()
        }
    };
    config.alpn_protocols.clone_from(&wishes.protocols);
    let name = ServerName::try_from(NAME).unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// A TCP connection with limits.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, SILENCE_MAX).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    stream.set_write_timeout(Some(SILENCE_MAX)).unwrap();
    stream
}

impl Session {
    /// Connects, and does the handshake.
    pub(crate) fn open(
        address: SocketAddr,
        trusted: &str,
        wishes: &Wishes,
        own: Option<&Pair>,
    ) -> io::Result<Self> {
        Self::over(connect(address), client(trusted, wishes, own))
    }

    pub(crate) fn over(mut socket: TcpStream, mut state: ClientConnection) -> io::Result<Self> {
        while state.is_handshaking() {
            state.complete_io(&mut socket)?;
        }
        let tls = StreamOwned::new(state, socket);
        Ok(Self { tls })
    }

    /// As the ordinary client.
    pub(crate) fn plain(address: SocketAddr, trusted: &str) -> Self {
        Self::open(address, trusted, &Wishes::default(), None).unwrap()
    }

    /// Sends bytes and reads the head and the body of one answer as text.
    pub(crate) fn ask(&mut self, request: &str) -> io::Result<String> {
        self.tls.write_all(request.as_bytes())?;
        self.tls.flush()?;
        self.answer()
    }

    /// Reads one answer, whose length stands in its head.
    pub(crate) fn answer(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            self.tls.read_exact(&mut byte)?;
            text.push(byte[0]);
        }
        let head = String::from_utf8(text).unwrap();
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.tls.read_exact(&mut body)?;
        Ok(head + &String::from_utf8_lossy(&body))
    }

    /// The certificate that the server showed.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.tls.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Whether the server ends the connection with its `close_notify`.
    pub(crate) fn is_closed_in_order(&mut self) -> bool {
        matches!(self.tls.read(&mut [0]), Ok(0))
    }
}

/// A request that has no body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}
