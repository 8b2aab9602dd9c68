//! The header of the PROXY protocol: a proxy says, before anything else, on whose
//! behalf it connects.

use std::net::SocketAddr;

use super::header_v1::{self, TEXT_BYTES_MAX};
use super::header_v2::{self, SIGNATURE};

/// Longest header that is read. Text is never longer than 107 bytes; the binary form
/// has room for what proxies add behind the addresses, which is passed over.
pub const HEADER_BYTES_MAX: usize = 4096;
const _: () = assert!(
    TEXT_BYTES_MAX < HEADER_BYTES_MAX,
    "either form fits into one buffer"
);

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// On whose behalf the proxy connects.
    pub behalf: Behalf,
    /// Bytes of the header; those behind it are the client's.
    pub length_bytes: usize,
}

/// Whom a proxy connects for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behalf {
    /// A client, by its end of its connection to the proxy.
    Client(SocketAddr),
    /// Itself, as for its checks of health.
    Itself,
    /// A client of which it cannot say where it is.
    Unknown,
}

/// What came is no header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It begins like something else.
    #[error("the proxy sent no header of the PROXY protocol")]
    Missing,
    /// It begins like a header and does not go on like one.
    #[error("the proxy sent a malformed header of the PROXY protocol")]
    Malformed,
    /// It is for another transport than TCP.
    #[error("the proxy says that its client does not speak TCP")]
    NotTcp,
    /// It is longer than a header may be.
    #[error("the proxy sent too long a header of the PROXY protocol")]
    TooLong,
}

impl Header {
    /// Reads the header that `bytes` begin with; `None` when more of it is to come,
    /// which is asked for at most up to [`HEADER_BYTES_MAX`].
    ///
    /// - Source: the specification that comes with haproxy, versions 1 and 2.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        let is_text = begins_like(bytes, header_v1::PREFIX);
        let is_binary = begins_like(bytes, &SIGNATURE);
        match (is_text, is_binary) {
            (true, true) => Ok(None),
            (true, false) => header_v1::parse(bytes),
            (false, true) => header_v2::parse(bytes),
            (false, false) => Err(HeaderError::Missing),
        }
    }
}

/// Whether what there is of `bytes` is what `prefix` begins with.
fn begins_like(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(left, right)| left == right)
}

#[cfg(test)]
#[path = "header_test.rs"]
mod tests;
