//! The address of a client, where proxies stand between.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses in one `X-Forwarded-For`; more proxies are in nobody's way.
const HOPS_MAX: usize = 16;

/// The address of whoever is behind `peer`.
///
/// Only a trusted proxy is believed, and only about who spoke to it: the list is read
/// from its end, and the first address that is no trusted proxy is the client. What
/// cannot be read as an address ends the search at the last one that is known.
pub(super) fn client_address<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let hops = forwarded.rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(&client) {
            break;
        }
        match parse(hop.trim()) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address, bare, in brackets, or with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = || {
        text.trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    };
    let with_port = || {
        text.parse()
            .ok()
            .map(|address: std::net::SocketAddr| address.ip())
    };
    let address: Option<IpAddr> = bare().or_else(with_port);
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let lines = forwarded.iter().copied();
        client_address(peer.parse().unwrap(), lines, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let rows: [(&str, &[&str], &str); 11] = [
            ("8.8.8.8", &["1.1.1.1"], "8.8.8.8"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2"], "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1", "10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("fd00::1", &["1.1.1.1:80"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1"),
        ];
        for (peer, forwarded, expected) in rows {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
