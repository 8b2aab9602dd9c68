//! Where a node is.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::runtime::off_shard;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A node to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerNode {
    /// Its number in the cluster; 0 takes whichever node answers, which only a node
    /// that joins may want.
    pub id: u64,
    /// `host:port`, a name or a number.
    pub address: Box<str>,
}

impl PeerNode {
    /// The addresses of the node, in the order to try them. A name is asked for anew
    /// each time, off the executor: nodes move.
    ///
    /// - Errors: the name is not known, or is not `host:port`.
    pub(super) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.address.parse() {
            return Ok(vec![address]);
        }
        let name = self.address.clone();
        let looking = move || name.to_socket_addrs();
        let found = off_shard(looking).await.map_err(io::Error::other)??;
        let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::run_alone;

    #[test]
    fn numbers_and_names_resolve_and_nonsense_does_not() {
        run_alone(|| async {
            let resolve = async |address: &str| {
                let address = address.into();
                PeerNode { id: 1, address }.resolve().await
            };
            let number = resolve("127.0.0.1:7000").await.unwrap();
            assert_eq!(number, ["127.0.0.1:7000".parse().unwrap()]);
            let name = resolve("localhost:7000").await.unwrap();
            assert!(name.iter().all(|each| each.port() == 7000));
            for nonsense in ["", "localhost", "127.0.0.1", "a:b:c"] {
                assert!(resolve(nonsense).await.is_err(), "{nonsense}");
            }
        });
    }
}
