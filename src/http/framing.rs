//! Decides from the header how a request's body ends. Source: RFC 9112, section 6,
//! with every tolerance taken out.

use super::method::is_token_byte;
use super::refusal::Refusal;
use super::request_line::Version;
use super::status::Status;

/// Digits of the largest `u64`.
const LENGTH_DIGITS_MAX: usize = 20;

/// How the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes; not 0.
    Length(u64),
    /// The body says chunk by chunk how long it is.
    Chunked,
}

/// Collects the header lines that frame a body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramingFields<'a> {
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
}

impl<'a> FramingFields<'a> {
    /// Takes a `Content-Length` line.
    ///
    /// - Errors: 400 for a second one, equal or not.
    pub(super) fn set_length(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.length.replace(value).is_some() {
            return Err(Refusal::bad("Content-Length stands twice."));
        }
        Ok(())
    }

    /// Takes a `Transfer-Encoding` line.
    ///
    /// - Errors: 400 for a second one.
    pub(super) fn set_coding(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.coding.replace(value).is_some() {
            return Err(Refusal::bad("Transfer-Encoding stands twice."));
        }
        Ok(())
    }

    /// Decides the framing.
    ///
    /// - Errors: 400 for anything that two readers could read in two ways, 501
    ///   for a coding this server does not have.
    pub(super) fn decide(self, version: Version) -> Result<Framing, Refusal> {
        match (self.length, self.coding) {
            (None, None) => Ok(Framing::None),
            (Some(_), Some(_)) => Err(Refusal::bad(
                "Content-Length and Transfer-Encoding exclude each other.",
            )),
            (Some(length), None) => match parse_length(length)? {
                0 => Ok(Framing::None),
                length => Ok(Framing::Length(length)),
            },
            (None, Some(_)) if version == Version::Http10 => {
                Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding."))
            }
            (None, Some(coding)) => parse_coding(coding),
        }
    }
}

fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    let malformed = Refusal::bad("Content-Length is not a number.");
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
        return Err(malformed);
    }
    value.iter().try_fold(0_u64, |length, byte| {
        if !byte.is_ascii_digit() {
            return Err(malformed);
        }
        length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .ok_or(malformed)
    })
}

fn parse_coding(value: &[u8]) -> Result<Framing, Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let is_list = !value.is_empty()
        && value
            .iter()
            .all(|byte| is_token_byte(*byte) || matches!(byte, b',' | b' '));
    if is_list {
        return Err(Refusal::new(
            Status::NOT_IMPLEMENTED,
            "The only transfer coding is `chunked`.",
        ));
    }
    Err(Refusal::bad("Transfer-Encoding is not a coding."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(length: Option<&[u8]>, coding: Option<&[u8]>) -> Result<Framing, u16> {
        FramingFields { length, coding }
            .decide(Version::Http11)
            .map_err(|refusal| refusal.status.code())
    }

    #[test]
    fn lengths_are_digits_that_fit() {
        assert_eq!(decide(Some(b"0"), None), Ok(Framing::None));
        assert_eq!(decide(Some(b"007"), None), Ok(Framing::Length(7)));
        let largest = b"18446744073709551615";
        assert_eq!(decide(Some(largest), None), Ok(Framing::Length(u64::MAX)));
        for value in [
            "",
            "+5",
            "-5",
            "0x5",
            "5 5",
            "5,5",
            "5, 5",
            "5_0",
            "5.0",
            "five",
            "18446744073709551616",
            "000000000000000000005",
            "\u{0665}",
        ] {
            assert_eq!(decide(Some(value.as_bytes()), None), Err(400), "{value}");
        }
    }

    #[test]
    fn the_only_coding_is_chunked_in_any_case() {
        assert_eq!(decide(None, Some(b"chunked")), Ok(Framing::Chunked));
        assert_eq!(decide(None, Some(b"CHUNKED")), Ok(Framing::Chunked));
        for (value, code) in [
            ("identity", 501),
            ("gzip, chunked", 501),
            ("chunked, chunked", 501),
            ("xchunked", 501),
            ("chunked;q=1", 400),
            ("\"chunked\"", 400),
            ("chunked\t,", 400),
            ("", 400),
        ] {
            assert_eq!(decide(None, Some(value.as_bytes())), Err(code), "{value}");
        }
    }

    #[test]
    fn conflicts_are_refused() {
        assert_eq!(decide(Some(b"5"), Some(b"chunked")), Err(400));
        assert_eq!(decide(Some(b"0"), Some(b"chunked")), Err(400));
        let mut fields = FramingFields::default();
        fields.set_coding(b"chunked").unwrap();
        assert!(fields.decide(Version::Http10).is_err());
        assert!(fields.set_coding(b"chunked").is_err());
        fields.set_length(b"5").unwrap();
        assert!(fields.set_length(b"5").is_err());
    }
}
