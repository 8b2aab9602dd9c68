//! The request line: method, target, version.

use super::method::Method;
use super::refusal::Refusal;
use super::status::Status;

/// The protocol version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: answered, then closed.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request line, borrowed from the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    /// From the first `/` to the `?`, undecoded.
    pub(super) path: &'a str,
    /// What follows the `?`, undecoded.
    pub(super) query: &'a str,
    pub(super) version: Version,
}

impl<'a> RequestLine<'a> {
    /// Reads a line without its CRLF.
    ///
    /// - Errors: 505 for other versions, 405 and 501 for other methods, 400 for the rest.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = Refusal::bad("The request line is not `method target version`.");
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let version = parse_version(version)?;
        let method = Method::parse(method)?;
        let is_visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
        if target.is_empty() || !target.iter().all(is_visible) {
            return Err(Refusal::bad("The target holds bytes no target may hold."));
        }
        let target = std::str::from_utf8(target).map_err(|_| malformed)?;
        let (path, query) = split_target(target)?;
        Ok(Self {
            method,
            path,
            query,
            version,
        })
    }
}

fn parse_version(version: &[u8]) -> Result<Version, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::new(
                Status::VERSION_NOT_SUPPORTED,
                "This server speaks HTTP/1.1.",
            ))
        }
        _ => Err(Refusal::bad("The request line names no HTTP version.")),
    }
}

/// Splits a target into path and query. The authority of an absolute form is
/// dropped: it decides nothing and is never echoed.
fn split_target(target: &str) -> Result<(&str, &str), Refusal> {
    let form = Refusal::bad("The target is neither a path nor an absolute URL.");
    let rest = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(form)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(form);
        }
        let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_bytes);
        if authority.is_empty() {
            return Err(form);
        }
        rest
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_and_absolute_form_name_the_same_path() {
        for line in [
            "GET /v2/a?n=1 HTTP/1.1",
            "GET http://evil.example:1/v2/a?n=1 HTTP/1.1",
            "GET HTTPS://user@evil/v2/a?n=1 HTTP/1.1",
        ] {
            let line = RequestLine::parse(line.as_bytes()).unwrap();
            assert_eq!((line.path, line.query), ("/v2/a", "n=1"));
        }
        let line = RequestLine::parse(b"HEAD http://host HTTP/1.0").unwrap();
        assert_eq!((line.path, line.version), ("/", Version::Http10));
        let line = RequestLine::parse(b"HEAD http://host?a HTTP/1.0").unwrap();
        assert_eq!((line.path, line.query), ("/", "a"));
    }

    #[test]
    fn other_shapes_are_refused_with_their_status() {
        let rows: [(&[u8], u16); 18] = [
            (b"GET /", 400),
            (b"GET", 400),
            (b"GET  / HTTP/1.1", 400),
            (b"GET / HTTP/1.1 ", 400),
            (b" GET / HTTP/1.1", 400),
            (b"GET\t/\tHTTP/1.1", 400),
            (b"GET / a HTTP/1.1", 400),
            (b"GET v2/ HTTP/1.1", 400),
            (b"GET /#a HTTP/1.1", 400),
            (b"GET /\xc3\xa9 HTTP/1.1", 400),
            (b"GET ftp://a/ HTTP/1.1", 400),
            (b"GET http:///v2/ HTTP/1.1", 400),
            (b"GET * HTTP/1.1", 400),
            (b"GET / http/1.1", 400),
            (b"GET / HTTP/1.10", 400),
            (b"GET / HTTP/1.2", 505),
            (b"PRI * HTTP/2.0", 505),
            (b"CONNECT a:443 HTTP/1.1", 405),
        ];
        for (line, code) in rows {
            let refusal = RequestLine::parse(line).unwrap_err();
            assert_eq!(refusal.status.code(), code, "{}", line.escape_ascii());
        }
    }
}
