//! One request, as its handler sees it.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::Certified;
use crate::base::RequestId;
use crate::http::{Connection, Head, Refusal, Status};
use crate::telemetry::Route;

use super::client::Client;
use super::deadline::Deadline;
use super::door::Door;
use super::pace::Pace;
use super::receive::ReceiveBuffer;
use super::wire::Wire;
use crate::proxy::Proxies;

/// One request and its answer, on the connection that carries them.
///
/// A handler looks at the head, reads the body or leaves it, and answers exactly
/// once: [`Self::respond`], or [`Self::begin`] and writes until the stated length
/// is reached. When it returns without an answer, the driver answers.
#[derive(Debug)]
pub struct Exchange {
    pub(super) door: Rc<Door>,
    pub(super) wire: Wire,
    pub(super) connection: Connection,
    pub(super) received: ReceiveBuffer,
    /// Encoded and not yet sent: the head of an answer whose body follows.
    pub(super) unsent: Vec<u8>,
    pub(super) pace: Pace,
    pub(super) request: Option<Request>,
    /// The bytes of the request are outside the dialect, or too slow.
    pub(super) refusal: Option<Refusal>,
    pub(super) answer: Answer,
    /// The connection ends in the middle of something.
    pub(super) is_cut: bool,
    /// The client's end of the connection, as far as it goes without request headers.
    client: IpAddr,
    /// Whether that is the client's own.
    is_client_known: bool,
    /// Whom the client's certificate names.
    subject: Option<Box<str>>,
    certified: Option<Rc<Certified>>,
    /// Tells the client of each request, behind proxies.
    proxies: Option<Arc<Proxies>>,
}

/// What is known of the request being answered.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Rc<Head>,
    pub(super) id: RequestId,
    pub(super) route: Route,
    pub(super) begun: Instant,
    /// Who is at the other end, behind all proxies that are believed.
    pub(super) client: IpAddr,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing has been answered.
    Due,
    /// The head is out; so many bytes of the body are not.
    Body { status: Status, left_bytes: u64 },
    /// Everything is out.
    Complete { status: Status },
}

impl Answer {
    pub(super) const fn status(self) -> Option<Status> {
        match self {
            Self::Due => None,
            Self::Body { status, .. } | Self::Complete { status } => Some(status),
        }
    }
}

impl Exchange {
    pub(super) fn new(door: &Rc<Door>, client: Client, deadline: Deadline) -> Self {
        let options = door.options();
        Self {
            wire: Wire::new(client.transport, deadline),
            client: client.address,
            is_client_known: client.is_address_known,
            subject: client.subject,
            certified: client.certified,
            proxies: client.proxies,
            is_cut: false,
            connection: Connection::new(options.connection),
            received: ReceiveBuffer::default(),
            unsent: Vec::new(),
            pace: Pace::new(options.body_window, options.body_rate_bytes_min),
            request: None,
            refusal: None,
            answer: Answer::Due,
            door: Rc::clone(door),
        }
    }

    /// Begins the request of a head just taken.
    ///
    /// - Errors: a proxy that is believed does not say who its client is.
    pub(super) fn start(&mut self, head: Head) -> Result<(), Refusal> {
        let options = self.door.options();
        self.pace = Pace::new(options.body_window, options.body_rate_bytes_min);
        self.answer = Answer::Due;
        let client = self.client_of(&head)?;
        self.request = Some(Request {
            client,
            id: head
                .header("x-request-id")
                .and_then(RequestId::accept)
                .unwrap_or_else(|| self.door.next_request_id()),
            head: Rc::new(head),
            route: Route::Unknown,
            begun: self.door.now(),
        });
        Ok(())
    }

    fn client_of(&self, head: &Head) -> Result<IpAddr, Refusal> {
        let Some(proxies) = &self.proxies else {
            return Ok(self.client);
        };
        let Some(name) = proxies.header_of(self.client) else {
            return Ok(self.client);
        };
        let lines: Vec<&[u8]> = head.raw_headers(name).collect();
        // The address of the proxy itself may be allowed more than its clients are.
        let unreadable = || Refusal::bad("The proxy does not say readably who its client is.");
        proxies.client(self.client, &lines).ok_or_else(unreadable)
    }

    /// The head of the request.
    #[must_use]
    pub fn head(&self) -> &Rc<Head> {
        &self.current().head
    }

    /// The id of the request, in its answer and in every log line about it.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.current().id
    }

    /// Address of the client: of the other end, or what proxies that are believed say.
    #[must_use]
    pub fn client_address(&self) -> IpAddr {
        self.current().client
    }

    /// The same for decisions; none where a proxy that is believed cannot say it.
    #[must_use]
    pub fn client_network(&self) -> Option<IpAddr> {
        self.is_client_known.then(|| self.client_address())
    }

    /// Whom the client's certificate names; `None` without one.
    #[must_use]
    pub fn client_name(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Who the client is by its certificate, where one proves that.
    #[must_use]
    pub const fn certified(&self) -> Option<&Rc<Certified>> {
        self.certified.as_ref()
    }

    /// Address of the other end of the connection.
    #[must_use]
    pub const fn peer_address(&self) -> SocketAddr {
        self.wire.peer()
    }

    /// Says what the request is about, for the counters.
    pub fn set_route(&mut self, route: Route) {
        if let Some(request) = &mut self.request {
            request.route = route;
        }
    }

    /// Whether an answer has begun, so that none can be sent any more.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.answer != Answer::Due
    }

    fn current(&self) -> &Request {
        self.request
            .as_ref()
            .expect("invariant: a handler runs between a head and its answer's end")
    }
}
