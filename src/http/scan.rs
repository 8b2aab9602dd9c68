//! Finds the end of a head, byte by byte, and stops at the first byte that no
//! head may hold.

use crate::base::limits::{HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX};
use crate::base::units::to_usize;

use super::refusal::Refusal;
use super::request_line::RequestLine;
use super::status::Status;

/// Where the search for the end of a head stands; each byte is looked at once
/// however slowly it arrives.
///
/// The verdict depends on the bytes alone, never on how they were split: the
/// first offence in the order of the stream decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Bytes looked at.
    scanned: usize,
    /// The head starts here: 2 when one empty line stood before it.
    start: usize,
    /// The current line starts here.
    line_start: usize,
    /// The request line is complete.
    has_request_line: bool,
    /// The byte before `scanned` was CR.
    is_after_cr: bool,
}

impl HeadScan {
    /// Looks at the bytes that arrived since the last call; `received` always
    /// begins where the head begins. Returns the head's end once it is complete,
    /// with the empty line that RFC 9112, section 2.2 lets stand before it.
    ///
    /// - Errors: 400 for bare CR, bare LF and control bytes, and for a request
    ///   line that is none, as soon as they are seen; 414 and 431 at the bounds.
    pub fn scan(&mut self, received: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(rest) = received.get(self.scanned..) {
            if self.is_after_cr {
                let Some(byte) = rest.first() else { break };
                if *byte != b'\n' {
                    return Err(Refusal::bad("A CR stands without its LF."));
                }
                self.is_after_cr = false;
                self.scanned += 1;
                if self.end_line(received)? {
                    return Ok(Some(self.scanned));
                }
                continue;
            }
            let plain = rest.iter().position(|byte| is_special(*byte));
            self.scanned += plain.unwrap_or(rest.len());
            self.check_bounds()?;
            match received.get(self.scanned) {
                None => break,
                Some(b'\r') => self.is_after_cr = true,
                Some(b'\t') if self.has_request_line => {}
                Some(b'\n') => return Err(Refusal::bad("An LF stands without its CR.")),
                Some(_) => return Err(Refusal::bad("The head holds a control byte.")),
            }
            self.scanned += 1;
        }
        Ok(None)
    }

    /// Where the head proper starts in the scanned bytes.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Takes in a complete line; true when it was the empty one that ends the head.
    fn end_line(&mut self, received: &[u8]) -> Result<bool, Refusal> {
        let line = received
            .get(self.line_start..self.scanned - 2)
            .unwrap_or_default();
        self.line_start = self.scanned;
        if self.has_request_line {
            return Ok(line.is_empty());
        }
        if line.is_empty() {
            if self.start > 0 {
                return Err(Refusal::bad("Empty lines stand before the request."));
            }
            self.start = self.scanned;
            return Ok(false);
        }
        RequestLine::parse(line)?;
        self.has_request_line = true;
        Ok(false)
    }

    /// Refuses when `scanned`, which no line end precedes, is past a bound.
    const fn check_bounds(&self) -> Result<(), Refusal> {
        let head_bytes = self.scanned - self.start;
        if !self.has_request_line && head_bytes > to_usize(REQUEST_LINE_BYTES_MAX) {
            return Err(Refusal::new(
                Status::URI_TOO_LONG,
                "The request line is too long.",
            ));
        }
        // What ends a head is at least CRLF, so that one byte less is already too many.
        if head_bytes + 2 > to_usize(HEAD_BYTES_MAX) {
            return Err(Refusal::new(
                Status::HEAD_TOO_LARGE,
                "The request head is too large.",
            ));
        }
        Ok(())
    }
}

const fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_whole(bytes: &[u8]) -> Result<Option<usize>, u16> {
        HeadScan::default()
            .scan(bytes)
            .map_err(|refusal| refusal.status.code())
    }

    #[test]
    fn a_head_ends_at_its_empty_line_and_not_a_byte_later() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(scan_whole(head), Ok(Some(head.len())));
        assert_eq!(scan_whole(&head[..head.len() - 1]), Ok(None));
        assert_eq!(
            scan_whole(&[head, b"rest".as_slice()].concat()),
            Ok(Some(head.len()))
        );
        assert_eq!(
            scan_whole(&[b"\r\n".as_slice(), head].concat()),
            Ok(Some(head.len() + 2))
        );
        assert_eq!(
            scan_whole(&[b"\r\n\r\n".as_slice(), head].concat()),
            Err(400)
        );
    }

    #[test]
    fn the_verdict_falls_at_the_first_bad_byte() {
        for bytes in [
            b"\x16\x03\x01".as_slice(),
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\rH",
            b"GET /\r\n",
            b"GET /\tHTTP/1.1",
            b"GET / HTTP/1.1\r\na\0",
            b"GET / HTTP/1.1\r\na: b\x7f",
            b"GET / HTTP/1.1\r\na: b\r\r",
            b"\n",
            b"\r\n\r\n",
        ] {
            assert_eq!(scan_whole(bytes), Err(400), "{}", bytes.escape_ascii());
        }
        assert_eq!(scan_whole(b"PRI * HTTP/2.0\r\n"), Err(505));
    }

    #[test]
    fn bounds_are_exact() {
        let line_bytes = to_usize(REQUEST_LINE_BYTES_MAX);
        let line = |length: usize| {
            let fixed = "GET / HTTP/1.1".len();
            format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - fixed)).into_bytes()
        };
        assert_eq!(scan_whole(&line(line_bytes)), Ok(None));
        assert_eq!(scan_whole(&line(line_bytes + 1)), Err(414));
        assert_eq!(scan_whole(&vec![b'a'; line_bytes + 1]), Err(414));
        let head_bytes = to_usize(HEAD_BYTES_MAX);
        let head = |length: usize| {
            let mut head = b"GET / HTTP/1.1\r\na: ".to_vec();
            head.resize(length - 4, b'b');
            head.extend_from_slice(b"\r\n\r\n");
            head
        };
        assert_eq!(scan_whole(&head(head_bytes)), Ok(Some(head_bytes)));
        assert_eq!(scan_whole(&head(head_bytes + 1)), Err(431));
        assert_eq!(scan_whole(&head(head_bytes + 9000)), Err(431));
    }
}
