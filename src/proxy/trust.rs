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
    /// may be the client's own invention.
    #[must_use]
    pub fn client(&self, peer: IpAddr, lines: &[&str]) -> IpAddr {
        let entries = match self.word {
            Word::ProxyProtocol => Vec::new(),
            Word::Forwarded => forwarded(lines),
            Word::XForwardedFor => x_forwarded_for(lines),
        };
        let mut client = peer;
        for entry in entries {
            match entry {
                Some(before) if self.is_trusted(client) => client = before,
                _ => break,
            }
        }
        client
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|each| each.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(word: Word) -> Proxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        Proxies::new(&networks, word)
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies = proxies(Word::XForwardedFor);
        proxies.client(peer.parse().unwrap(), lines).to_string()
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
        assert_eq!(
            client("10.0.0.1", &["192.0.2.7, junk, 10.0.0.2"]),
            "10.0.0.2"
        );
        assert_eq!(client("10.0.0.1", &["junk"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
        assert_eq!(client("192.0.2.1", &["192.0.2.7"]), "192.0.2.1");
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
