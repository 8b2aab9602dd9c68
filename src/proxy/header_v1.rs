//! Version 1, a line of text: `PROXY TCP4 192.0.2.7 192.0.2.1 51234 443`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{Behalf, Header, HeaderError};

/// What the line begins with.
pub(super) const PREFIX: &[u8] = b"PROXY ";
/// The longest line, with its end. Source: the specification, section 2.1.
pub(super) const TEXT_BYTES_MAX: usize = 107;

/// Reads bytes that begin like the line.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let head = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < TEXT_BYTES_MAX {
            Ok(None)
        } else {
            Err(HeaderError::TooLong)
        };
    };
    let line = head.get(PREFIX.len()..end).unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    Ok(Some(Header {
        behalf: behalf(line)?,
        length_bytes: end + 2,
    }))
}

/// The client in what follows the first word.
fn behalf(line: &str) -> Result<Behalf, HeaderError> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        // Whatever else stands there is to be ignored.
        return Ok(Behalf::Unknown);
    }
    let client = known_client(line).ok_or(HeaderError::Malformed)?;
    Ok(Behalf::Client(client))
}

fn known_client(line: &str) -> Option<SocketAddr> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let address = |word: &str| -> Option<IpAddr> {
        match kind {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let [source, _destination] = [address(words.next()?)?, address(words.next()?)?];
    let [source_port, _destination_port] = [port(words.next()?)?, port(words.next()?)?];
    let is_whole = words.next().is_none();
    is_whole.then_some(SocketAddr::new(source, source_port))
}

/// A port without sign and leading zeros.
fn port(word: &str) -> Option<u16> {
    let is_canonical = word == "0" || word.starts_with(|first: char| ('1'..='9').contains(&first));
    is_canonical.then(|| word.parse().ok()).flatten()
}
