//! Why an exchange stops.

use crate::http::Refusal;

/// The exchange is over for its handler: there is nobody to answer, or the
/// driver answers. A handler returns it and does nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The client hung up, or the socket failed.
    #[error("the client hung up")]
    Gone,
    /// The client took no byte of the answer for too long.
    #[error("the client takes no bytes")]
    Stalled,
    /// The body is outside the dialect or too slow; the driver answers it when
    /// the handler has not.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is longer than the caller takes; answer 413.
    #[error("the body is longer than {bytes_max} bytes")]
    TooLarge {
        /// What the caller takes.
        bytes_max: usize,
    },
    /// There is no more body to have. What was read before it stands.
    #[error(transparent)]
    Closed(#[from] Closed),
}
