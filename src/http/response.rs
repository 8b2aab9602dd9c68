//! The head of an answer.

use std::io::Write as _;

use super::status::Status;

/// The interim answer that asks for the body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Fields that the connection writes, once and rightly.
const RESERVED_FIELDS: [&str; 6] = [
    "connection",
    "content-length",
    "date",
    "transfer-encoding",
    "x-content-type-options",
    "x-request-id",
];

/// Status and header of one answer; written once, sent as it is.
///
/// Fields go straight into wire form. A byte that no field value may hold (CR,
/// LF, other control bytes, anything outside ASCII) is percent-encoded, so that
/// a value taken from a request can never end its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    status: Status,
    length_bytes: Option<u64>,
    fields: Vec<u8>,
}

impl ResponseHead {
    /// An answer without fields.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            length_bytes: None,
            fields: Vec::new(),
        }
    }

    /// Adds a field line; a repeated name makes another line.
    ///
    /// - Panics: for the fields that the connection writes itself: `Connection`,
    ///   `Content-Length` (see [`Self::with_length`]), `Date`, `X-Request-Id`,
    ///   `X-Content-Type-Options`; and for a name that is not a token.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.push_name(name);
        if value.bytes().all(is_plain) {
            self.fields.extend_from_slice(value.as_bytes());
        } else {
            self.push_encoded(value);
        }
        self.fields.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a field line that holds a number.
    ///
    /// - Panics: as [`Self::with`].
    #[must_use]
    pub fn with_number(mut self, name: &'static str, value: u64) -> Self {
        self.push_name(name);
        write!(self.fields, "{value}\r\n").expect("invariant: a Vec takes every write");
        self
    }

    /// States the length of the body: of the one that follows, or on an answer
    /// to HEAD of the one that GET would bring. Never sent with 204 and 304.
    #[must_use]
    pub const fn with_length(mut self, length_bytes: u64) -> Self {
        self.length_bytes = Some(length_bytes);
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The stated length, if any.
    #[must_use]
    pub const fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// Appends the head in wire form; `common` holds complete lines, each with
    /// its CRLF, that every answer of the connection carries.
    pub fn encode(&self, common: &[&str], wire: &mut Vec<u8>) {
        write!(wire, "HTTP/1.1 {}\r\n", self.status).expect("invariant: a Vec takes every write");
        wire.extend_from_slice(&self.fields);
        for lines in common {
            wire.extend_from_slice(lines.as_bytes());
        }
        if let Some(length_bytes) = self.length_bytes.filter(|_| !self.status.is_bodiless()) {
            write!(wire, "Content-Length: {length_bytes}\r\n")
                .expect("invariant: a Vec takes every write");
        }
        wire.extend_from_slice(b"\r\n");
    }

    fn push_encoded(&mut self, value: &str) {
        for byte in value.bytes() {
            if is_plain(byte) {
                self.fields.push(byte);
            } else {
                write!(self.fields, "%{byte:02X}").expect("invariant: a Vec takes every write");
            }
        }
    }

    fn push_name(&mut self, name: &'static str) {
        debug_assert!(
            name.bytes().all(super::method::is_token_byte),
            "a field name is a token"
        );
        debug_assert!(
            !RESERVED_FIELDS
                .iter()
                .any(|field| name.eq_ignore_ascii_case(field)),
            "the connection itself writes {name}"
        );
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.extend_from_slice(b": ");
    }
}

/// Whether a byte may stand in a field value as it is.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(head: &ResponseHead) -> String {
        let mut wire = Vec::new();
        head.encode(&["Date: d\r\n", ""], &mut wire);
        String::from_utf8(wire).unwrap()
    }

    #[test]
    fn a_head_is_written_line_by_line() {
        let head = ResponseHead::new(Status::CREATED)
            .with("Location", "/v2/a")
            .with_number("Docker-Number", 7)
            .with_length(0);
        let expected = "HTTP/1.1 201 Created\r\nLocation: /v2/a\r\nDocker-Number: 7\r\n\
                        Date: d\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(encode(&head), expected);
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let head = ResponseHead::new(Status::OK).with("OCI-Tag", "a\r\nSet-Cookie: b\0é");
        assert!(encode(&head).contains("OCI-Tag: a%0D%0ASet-Cookie: b%00%C3%A9\r\n"));
    }

    #[test]
    fn answers_without_body_state_no_length() {
        for status in [Status::NO_CONTENT, Status::NOT_MODIFIED] {
            let head = ResponseHead::new(status).with_length(7);
            assert!(!encode(&head).contains("Content-Length"));
        }
    }

    #[test]
    #[should_panic(expected = "the connection itself writes")]
    fn the_length_has_its_own_way_in() {
        let _head = ResponseHead::new(Status::OK).with("content-length", "7");
    }
}
