//! A connection that may ask.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::transport::Transport;
use crate::auth::Certified;
use crate::http::Refusal;
use crate::net::{Stream, TlsStream};
use crate::proxy::Proxies;

/// A connection whose requests can be served, and who is at its other end.
#[derive(Debug)]
pub struct Client {
    pub(super) transport: Transport,
    /// Where it comes from: the other end, or what a trusted proxy said before.
    pub(super) address: IpAddr,
    /// Whether that is the client's: not when a proxy before it cannot say whose.
    pub(super) is_address_known: bool,
    /// Whom its certificate names.
    pub(super) subject: Option<Box<str>>,
    /// Who it is by that certificate, where one proves that.
    pub(super) certified: Option<Rc<Certified>>,
    /// Believed about the client of each request.
    pub(super) proxies: Option<Arc<Proxies>>,
    /// The one answer it gets.
    pub(super) refusal: Option<Refusal>,
    /// Where it came in.
    pub(super) listener: u8,
}

impl Client {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            address: transport.peer_address().ip(),
            transport,
            is_address_known: true,
            subject: None,
            certified: None,
            proxies: None,
            refusal: None,
            listener: 0,
        }
    }

    /// The same at another listener of its door than the first, 0.
    #[must_use]
    pub fn at(self, listener: u8) -> Self {
        Self { listener, ..self }
    }
}

impl From<Stream> for Client {
    fn from(stream: Stream) -> Self {
        Self::new(Transport::Plain(stream))
    }
}

impl From<TlsStream> for Client {
    fn from(stream: TlsStream) -> Self {
        let subject = stream.peer_subject();
        Self {
            subject,
            ..Self::new(Transport::Tls(Box::new(stream)))
        }
    }
}
