//! Version 2, binary.
//!
//! ```text
//! signature (12 bytes) | version and command u8 | family and transport u8 | length u16 | content
//! content   source address, destination address, source port u16, destination port u16, more
//! ```
//! Numbers are big-endian. What follows the addresses is not read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{Behalf, HEADER_BYTES_MAX, Header, HeaderError};

/// What the header begins with.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the content.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// Version 2, and the proxy speaks for itself.
const LOCAL_TAG: u8 = 0x20;
/// Version 2, and the proxy speaks for a client.
const PROXY_TAG: u8 = 0x21;

/// Reads bytes that begin like the signature.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    let content_bytes = usize::from(u16::from_be_bytes([high, low]));
    let length_bytes = FIXED_BYTES + content_bytes;
    if command != LOCAL_TAG && command != PROXY_TAG {
        return Err(HeaderError::Malformed);
    }
    if length_bytes > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let Some(content) = bytes.get(FIXED_BYTES..length_bytes) else {
        return Ok(None);
    };
    let behalf = if command == LOCAL_TAG {
        Behalf::Itself
    } else {
        behalf(family, content)?
    };
    Ok(Some(Header {
        behalf,
        length_bytes,
    }))
}

fn behalf(family: u8, content: &[u8]) -> Result<Behalf, HeaderError> {
    let short = HeaderError::Malformed;
    let (address, ports): (IpAddr, _) = match family {
        // The proxy does not know, or the client is on its machine: a stream of Unix.
        0x00 | 0x31 => return Ok(Behalf::Unknown),
        // TCP over IPv4.
        0x11 => {
            let (source, rest) = content.split_first_chunk::<4>().ok_or(short)?;
            let (_destination, ports) = rest.split_at_checked(4).ok_or(short)?;
            (Ipv4Addr::from(*source).into(), ports)
        }
        // TCP over IPv6.
        0x21 => {
            let (source, rest) = content.split_first_chunk::<16>().ok_or(short)?;
            let (_destination, ports) = rest.split_at_checked(16).ok_or(short)?;
            (Ipv6Addr::from(*source).into(), ports)
        }
        // UDP and datagrams of Unix.
        0x12 | 0x22 | 0x32 => return Err(HeaderError::NotTcp),
        _ => return Err(HeaderError::Malformed),
    };
    let ports = ports.first_chunk::<4>().ok_or(short)?;
    let [high, low, ..] = *ports;
    let port = u16::from_be_bytes([high, low]);
    Ok(Behalf::Client(SocketAddr::new(address, port)))
}
