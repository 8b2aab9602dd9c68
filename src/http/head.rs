//! A request head: what was asked for, and how its body ends.

use crate::base::limits::HEADERS_MAX;

use super::framing::{Framing, FramingFields};
use super::method::Method;
use super::query::Query;
use super::refusal::Refusal;
use super::request_line::{RequestLine, Version};
use super::scan::HeadScan;
use super::status::Status;

/// Header fields that hold one value; a second line of one is refused, because
/// two readers could each take another.
const SINGLE_FIELDS: [&str; 5] = [
    "authorization",
    "content-range",
    "content-type",
    "content-encoding",
    "range",
];

/// The head of one request, checked against the whole dialect.
#[derive(Clone, Debug)]
pub struct Head {
    method: Method,
    path: Box<str>,
    query: Query,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
    /// The header lines as received.
    bytes: Box<[u8]>,
    fields: Vec<Field>,
}

/// A header line, as positions in `Head::bytes`.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
}

/// A range of bytes; heads are shorter than 64 KiB.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u16,
    end: u16,
}

impl Head {
    /// Reads a head off the front of `received`, with the number of bytes it
    /// takes; `None` while it is incomplete.
    ///
    /// - Errors: what the connection is answered before it is closed.
    pub fn parse(received: &[u8]) -> Result<Option<(Self, usize)>, Refusal> {
        let mut scan = HeadScan::default();
        let Some(end) = scan.scan(received)? else {
            return Ok(None);
        };
        let head = received.get(scan.start()..end).unwrap_or_default();
        Ok(Some((Self::parse_complete(head)?, end)))
    }

    /// Reads a head whose lines a [`HeadScan`] has checked and delimited.
    pub(super) fn parse_complete(bytes: &[u8]) -> Result<Self, Refusal> {
        let line_bytes = bytes.iter().position(|byte| *byte == b'\r');
        let (line, rest) = bytes
            .split_at_checked(line_bytes.unwrap_or_default())
            .unwrap_or_default();
        let line = RequestLine::parse(line)?;
        let block = rest.get(2..).unwrap_or_default();
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let headers = parse_headers(block, &mut headers)?;
        let traits = Traits::collect(headers, line.version)?;
        let fields = headers.iter().map(|header| Field {
            name: span_in(block, header.name.as_bytes()),
            value: span_in(block, header.value),
        });
        Ok(Self {
            method: line.method,
            path: line.path.into(),
            query: Query::parse(line.query)?,
            version: line.version,
            framing: traits.framing.decide(line.version)?,
            keep_alive: line.version == Version::Http11 && !traits.asks_close,
            expects_continue: line.version == Version::Http11 && traits.expects_continue,
            fields: fields.collect(),
            bytes: block.into(),
        })
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The path, from its first `/`, as sent: nothing is decoded or normalised.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query.
    #[must_use]
    pub const fn query(&self) -> &Query {
        &self.query
    }

    /// The protocol version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// How the body ends.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client leaves the connection open after the answer.
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for 100 before it sends the body.
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The first value of a header, trimmed; the name in any case. A value that
    /// is not UTF-8 reads as absent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Whether a header is there, whatever its value is.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.raw_headers(name).next().is_some()
    }

    /// Every value of a header as received, one per line, in order.
    pub fn raw_headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| self.slice(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.slice(field.value))
    }

    /// Every value of a header, one per line, in order, without those that are not
    /// UTF-8.
    pub fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.raw_headers(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.bytes
            .get(usize::from(span.start)..usize::from(span.end))
            .unwrap_or_default()
    }
}

fn parse_headers<'a, 'b>(
    block: &'a [u8],
    headers: &'b mut [httparse::Header<'a>; HEADERS_MAX],
) -> Result<&'b [httparse::Header<'a>], Refusal> {
    match httparse::parse_headers(block, headers) {
        Ok(httparse::Status::Complete((_, headers))) => Ok(headers),
        Err(httparse::Error::TooManyHeaders) => Err(Refusal::new(
            Status::HEAD_TOO_LARGE,
            "The request has too many header lines.",
        )),
        Ok(httparse::Status::Partial) | Err(_) => {
            Err(Refusal::bad("A header line is not `name: value`."))
        }
    }
}

/// What the header says about the message itself.
#[derive(Default)]
struct Traits<'a> {
    framing: FramingFields<'a>,
    asks_close: bool,
    expects_continue: bool,
}

impl<'a> Traits<'a> {
    fn collect(headers: &[httparse::Header<'a>], version: Version) -> Result<Self, Refusal> {
        let mut traits = Self::default();
        let mut hosts_count = 0;
        let mut singles_seen = [false; SINGLE_FIELDS.len()];
        for header in headers {
            let name = header.name;
            if name.eq_ignore_ascii_case("host") {
                hosts_count += 1;
                check_host(header.value)?;
            } else if name.eq_ignore_ascii_case("content-length") {
                traits.framing.set_length(header.value)?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                traits.framing.set_coding(header.value)?;
            } else if name.eq_ignore_ascii_case("connection") {
                traits.asks_close |= names_close(header.value);
            } else if name.eq_ignore_ascii_case("expect") {
                traits.set_expectation(header.value)?;
            } else {
                refuse_repeat(name, &mut singles_seen)?;
            }
        }
        if hosts_count > 1 || (hosts_count == 0 && version == Version::Http11) {
            return Err(Refusal::bad("The request does not name exactly one Host."));
        }
        Ok(traits)
    }

    fn set_expectation(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let is_known = value.eq_ignore_ascii_case(b"100-continue");
        if !is_known || std::mem::replace(&mut self.expects_continue, true) {
            return Err(Refusal::new(
                Status::EXPECTATION_FAILED,
                "The only expectation is `100-continue`.",
            ));
        }
        Ok(())
    }
}

/// Checks that a host holds only bytes a host and a port may hold. Its value
/// decides nothing here and is never echoed.
fn check_host(value: &[u8]) -> Result<(), Refusal> {
    let is_host_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    if value.iter().all(is_host_byte) {
        Ok(())
    } else {
        Err(Refusal::bad("Host is not a host and a port."))
    }
}

fn names_close(value: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

fn refuse_repeat(name: &str, seen: &mut [bool; SINGLE_FIELDS.len()]) -> Result<(), Refusal> {
    for (single, seen) in SINGLE_FIELDS.iter().zip(seen) {
        if name.eq_ignore_ascii_case(single) && std::mem::replace(seen, true) {
            return Err(Refusal::bad("A header of one value stands twice."));
        }
    }
    Ok(())
}

/// Where `part` lies in `whole`, which it was cut from.
fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    let narrow = |at: usize| u16::try_from(at).expect("invariant: a head is shorter than 64 KiB");
    Span {
        start: narrow(start),
        end: narrow(start + part.len()),
    }
}

#[cfg(test)]
#[path = "head_test.rs"]
mod tests;
