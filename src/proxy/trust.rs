//! Which proxies are believed, and what follows for a request.

use std::net::IpAddr;

use ipnet::IpNet;

use super::forwarded::{forwarded, x_forwarded_for};

/// How proxies say who their client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Before anything else on the connection, by the PROXY protocol.
    ProxyProtocol,
    /// In the header `Forwarded` of each request.
    Forwarded,
    /// In the header `X-Forwarded-For` of each request.
    XForwardedFor,
}

/// The proxies that are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
    word: Word,
}

impl Proxies {
    /// Believes whoever connects from one of `networks`, in the one way of `word`.
    #[must_use]
    pub fn new(networks: &[IpNet], word: Word) -> Self {
        Self {
            networks: networks.to_vec(),
            word,
        }
    }

    /// Whether connections from `peer` begin with a header of the PROXY protocol.
    #[must_use]
    pub fn announces(&self, peer: IpAddr) -> bool {
        self.word == Word::ProxyProtocol && self.is_trusted(peer)
    }

    /// The request header that `peer` is believed; `None` when there is none.
    #[must_use]
    pub fn header_of(&self, peer: IpAddr) -> Option<&'static str> {
        match self.word {
            _ if !self.is_trusted(peer) => None,
            Word::ProxyProtocol => None,
            Word::Forwarded => Some("Forwarded"),
            Word::XForwardedFor => Some("X-Forwarded-For"),
        }
    }

    /// The client of a request that came from the trusted `peer` with these header
    /// lines: the last address that a trusted proxy has seen. What stands before that
    /// may be the client's own invention. Without any line it is the peer itself; `None`
    /// when what a trusted proxy wrote is no address.
    #[must_use]
    pub fn client(&self, peer: IpAddr, lines: &[&[u8]]) -> Option<IpAddr> {
        let entries = match self.word {
            Word::ProxyProtocol => Vec::new(),
            Word::Forwarded => forwarded(lines),
            Word::XForwardedFor => x_forwarded_for(lines),
        };
        let mut client = peer;
        for entry in entries {
            if !self.is_trusted(client) {
                break;
            }
            client = entry?;
        }
        Some(client)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|each| each.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(word: Word) -> Proxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        Proxies::new(&networks, word)
    }

    fn told(word: Word, peer: &str, lines: &[&[u8]]) -> String {
        let client = proxies(word).client(peer.parse().unwrap(), lines);
        client.map_or_else(|| "-".into(), |client| client.to_string())
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        told(Word::XForwardedFor, peer, &lines)
    }

    #[test]
    fn the_client_is_the_last_address_that_a_trusted_proxy_saw() {
        assert_eq!(client("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &["192.0.2.7, 10.0.0.2"]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1", "192.0.2.7, fd00::1"]),
            "192.0.2.7"
        );
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
        assert_eq!(client("192.0.2.1", &["192.0.2.7"]), "192.0.2.1");
    }

    #[test]
    fn nobody_takes_the_address_of_a_trusted_proxy_by_being_unreadable() {
        let cases: [(&[&[u8]], &str); 12] = [
            (&[b"junk"], "-"),
            (&[b""], "-"),
            (&[b"unknown"], "-"),
            (&[b"\xff"], "-"),
            (&[b"192.0.2.7", b"\xff"], "-"),
            (&[b"192.0.2.7, junk, 10.0.0.2"], "-"),
            (&[b"192.0.2.7, junk", b"10.0.0.2, 10.0.0.3"], "-"),
            (&[b"192.0.2.7,"], "-"),
            // What the client invented is not looked at.
            (&[b"junk, 192.0.2.7"], "192.0.2.7"),
            (&[b"\xff, 192.0.2.7"], "192.0.2.7"),
            (&[b"\xff", b"192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&[b"10.0.0.9, \xff, 192.0.2.7"], "192.0.2.7"),
        ];
        for (lines, expected) in cases {
            let found = told(Word::XForwardedFor, "10.0.0.1", lines);
            assert_eq!(found, expected, "{lines:?}");
        }
        let cases: [(&[&[u8]], &str); 9] = [
            (&[b"for=\", for=192.0.2.7"], "-"),
            (&[b"\xff, for=192.0.2.7"], "-"),
            (&[b"for=_hidden"], "-"),
            (&[b"for=unknown"], "-"),
            (&[b"proto=https"], "-"),
            (&[b""], "-"),
            (&[b"for=192.0.2.7", b"for"], "-"),
            (&[b"\xff", b"for=192.0.2.7"], "192.0.2.7"),
            (&[b"for=\"", b"for=192.0.2.7, for=10.0.0.2"], "192.0.2.7"),
        ];
        for (lines, expected) in cases {
            let found = told(Word::Forwarded, "10.0.0.1", lines);
            assert_eq!(found, expected, "{lines:?}");
        }
        // From elsewhere nothing is believed, and nothing is looked at.
        assert_eq!(client("192.0.2.1", &["junk"]), "192.0.2.1");
    }

    proptest! {
        /// Whatever a client sends: a proxy that adds its address by a comma or by a
        /// line of its own is believed, or the request is refused.
        #[test]
        fn a_client_is_itself_or_refused(
            sent in proptest::collection::vec(any::<u8>(), 0..40),
            word in prop_oneof![Just(Word::Forwarded), Just(Word::XForwardedFor)],
            is_one_line: bool,
        ) {
            let seen: &[u8] = match word {
                Word::Forwarded => b"for=192.0.2.7",
                _ => b"192.0.2.7",
            };
            let joined = [&sent, b", ".as_slice(), seen].concat();
            let found = if is_one_line {
                told(word, "10.0.0.1", &[&joined])
            } else {
                told(word, "10.0.0.1", &[&sent, seen])
            };
            let is_refusable = word == Word::Forwarded && is_one_line;
            prop_assert!(found == "192.0.2.7" || is_refusable && found == "-", "{}", found);
        }
    }

    #[test]
    fn a_peer_is_believed_in_one_way_and_only_from_its_network() {
        let (inside, outside) = ("10.9.9.9".parse().unwrap(), "11.0.0.1".parse().unwrap());
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        let announced = proxies(Word::ProxyProtocol);
        assert!(announced.announces(inside) && announced.announces(mapped));
        assert!(!announced.announces(outside));
        assert_eq!(announced.header_of(inside), None);
        let told = proxies(Word::Forwarded);
        assert!(!told.announces(inside));
        assert_eq!(told.header_of(inside), Some("Forwarded"));
        assert_eq!(told.header_of(outside), None);
    }
}
