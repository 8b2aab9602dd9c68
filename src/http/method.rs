//! The methods this server speaks.

use super::refusal::Refusal;
use super::status::Status;

/// A request method; any other one is refused with the request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Method {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
    ];
    /// The value of `Allow` that goes with a 405 of the dialect itself.
    pub const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

    /// Reads a method; methods are case-sensitive.
    ///
    /// - Errors: 405 for methods that RFC 9110 knows and this server does not
    ///   serve, 501 for other tokens, 400 for what is not a token.
    pub fn parse(name: &[u8]) -> Result<Self, Refusal> {
        match name {
            b"GET" => Ok(Self::Get),
            b"HEAD" => Ok(Self::Head),
            b"POST" => Ok(Self::Post),
            b"PUT" => Ok(Self::Put),
            b"PATCH" => Ok(Self::Patch),
            b"DELETE" => Ok(Self::Delete),
            b"CONNECT" | b"OPTIONS" | b"TRACE" => Err(Refusal::new(
                Status::METHOD_NOT_ALLOWED,
                "The method is not served here.",
            )),
            token if !token.is_empty() && token.iter().copied().all(is_token_byte) => Err(
                Refusal::new(Status::NOT_IMPLEMENTED, "The method is not known."),
            ),
            _ => Err(Refusal::bad("The method is not a token.")),
        }
    }

    /// The method as it stands on the request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Whether a byte may stand in a token. Source: RFC 9110, section 5.6.2.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_read_back_and_are_case_sensitive() {
        let names = Method::ALL.map(Method::as_str);
        assert_eq!(names.join(", "), Method::ALLOWED);
        for name in names {
            assert_eq!(Method::parse(name.as_bytes()).unwrap().as_str(), name);
            let lower = name.to_ascii_lowercase();
            let refusal = Method::parse(lower.as_bytes()).unwrap_err();
            assert_eq!(refusal.status, Status::NOT_IMPLEMENTED);
        }
    }

    #[test]
    fn trace_and_connect_are_405_and_garbage_is_400() {
        let status = |name: &[u8]| Method::parse(name).unwrap_err().status;
        assert_eq!(status(b"TRACE"), Status::METHOD_NOT_ALLOWED);
        assert_eq!(status(b"CONNECT"), Status::METHOD_NOT_ALLOWED);
        assert_eq!(status(b"BREW"), Status::NOT_IMPLEMENTED);
        assert_eq!(status(b"G(T"), Status::BAD_REQUEST);
        assert_eq!(status(b""), Status::BAD_REQUEST);
    }
}
