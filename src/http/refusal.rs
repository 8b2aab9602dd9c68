//! What is answered to bytes outside the dialect.

use super::status::Status;

/// The peer's bytes are not a request of this dialect, or break a bound.
///
/// After a refusal the connection is answered once with `status`, closed, and
/// not one further byte of it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refusal {
    /// What is answered.
    pub status: Status,
    /// One sentence for the client and the log; never holds bytes of the request.
    pub reason: &'static str,
}

impl Refusal {
    /// Refuses with a status of the caller's choice.
    #[must_use]
    pub const fn new(status: Status, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// Refuses with 400.
    #[must_use]
    pub const fn bad(reason: &'static str) -> Self {
        Self::new(Status::BAD_REQUEST, reason)
    }
}
