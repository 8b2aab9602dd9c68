//! Where a node is reached by other nodes.

use std::fmt;
use std::net::Ipv6Addr;

/// Longest address: a DNS name of 253 bytes, brackets, colon and port.
const ADDRESS_BYTES_MAX: usize = 261;

/// Why a text is not an address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node's address is `host:port`")]
pub struct AddressError;

/// `host:port`; the host is a name or an IP address, an IPv6 one in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress(Box<str>);

impl NodeAddress {
    /// Reads `host:port`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = bare.map_or_else(
            || !host.is_empty() && host.bytes().all(is_in_names),
            |address| address.parse::<Ipv6Addr>().is_ok(),
        );
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0);
        if is_host && is_port && text.len() <= ADDRESS_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(AddressError)
        }
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn is_in_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_both_kinds_of_ip_addresses_are_taken() {
        for good in [
            "a:1",
            "node-0.windlass.svc:7000",
            "10.0.0.1:65535",
            "[::1]:80",
        ] {
            assert_eq!(
                NodeAddress::parse(good).map(|a| a.to_string()),
                Ok(good.into())
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("{}:1", "x".repeat(260));
        let bad = [
            "", "a", "a:", ":1", "a:0", "a:65536", "a:+1", "a b:1", "::1:80", "[x]:1", "a/b:1",
        ];
        for bad in bad.into_iter().chain([long.as_str()]) {
            assert_eq!(NodeAddress::parse(bad), Err(AddressError), "{bad}");
        }
    }
}
