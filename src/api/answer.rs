//! What a handler decided to say, before it is written to the wire.

use std::borrow::Cow;

use bytes::Bytes;

use super::failure::Failure;
use crate::http::{ResponseHead, Status};
use crate::registry::Freshness;

/// A head and a body that is already in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) body: Bytes,
    /// What `Content-Length` says when the body is not here: streamed, or HEAD.
    pub(super) length_bytes: Option<u64>,
    /// The entry of the journal that made the change which is answered.
    pub(super) journal_index: Option<u64>,
}

/// What a client is told of an answer that no quorum confirmed.
///
/// - Source: RFC 7234, section 5.5, as distribution-spec v1.1 uses it.
const STALE_WARNING: &str =
    "299 - \"no quorum confirms this answer: newer content may exist on other nodes\"";

/// Handlers answer or fail; both become one response.
pub(super) type Handled = Result<Answer, Failure>;

impl Answer {
    /// An answer without a body.
    pub(super) const fn empty(status: Status) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            length_bytes: None,
            journal_index: None,
        }
    }

    /// A JSON answer.
    pub(super) fn json(status: Status, body: impl Into<Bytes>) -> Self {
        Self::empty(status)
            .with("Content-Type", "application/json")
            .body(body)
    }

    /// Adds a header line.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says which entry made the change.
    pub(super) const fn committed(mut self, journal_index: Option<u64>) -> Self {
        self.journal_index = journal_index;
        self
    }

    /// Says how new the answer is, when it may not be the newest.
    pub(super) fn seen(self, freshness: Freshness) -> Self {
        match freshness {
            Freshness::Newest => self,
            Freshness::Stale => self.with("Warning", STALE_WARNING),
        }
    }

    /// Sets the body.
    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Declares the length of a body that is not sent.
    pub(super) const fn length(mut self, length_bytes: u64) -> Self {
        self.length_bytes = Some(length_bytes);
        self
    }

    /// The head as it goes to the wire, with what every reply of this door carries.
    pub(super) fn head(&self) -> ResponseHead {
        let head =
            ResponseHead::new(self.status).with("Docker-Distribution-API-Version", "registry/2.0");
        let head = self
            .headers
            .iter()
            .fold(head, |head, (name, value)| head.with(name, value));
        match self.length_bytes {
            Some(length_bytes) => head.with_length(length_bytes),
            None => head,
        }
    }
}
