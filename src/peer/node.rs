//! Where a node is.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Addresses of one name that stands for all nodes of a cluster.
const NODES_MAX: usize = 256;

/// Names that are asked for at the same time, in the whole process. An answer that
/// does not come keeps its thread for as long as the system's resolver likes.
const RESOLVES_MAX: usize = 16;

/// The places of those. Names do not resolve on the threads for off-shard work: when
/// the name service is gone, two of them would be enough to stop every rename.
static PLACES: Semaphore = Semaphore::const_new(RESOLVES_MAX);

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
        let place = PLACES.try_acquire();
        let place = place.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        let mut found = found_for(&self.address, place).await?;
        found.truncate(ADDRESSES_MAX);
        Ok(found)
    }
}

/// Every address of a name, asked for anew, off the executor; waits for its turn.
pub(super) async fn look_up_all(name: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let place = PLACES.acquire().await.map_err(io::Error::other)?;
    found_for(name, place).await
}

async fn found_for(name: &str, place: SemaphorePermit<'static>) -> io::Result<Vec<SocketAddr>> {
    let found = look_up(name.into(), place)?.recv_async().await;
    match found.map_err(io::Error::other)?? {
        none if none.is_empty() => Err(io::ErrorKind::NotFound.into()),
        some => Ok(some),
    }
}

/// Asks for a name on a thread of its own.
fn look_up(
    name: Box<str>,
    place: SemaphorePermit<'static>,
) -> io::Result<flume::Receiver<io::Result<Vec<SocketAddr>>>> {
    let (answer, answered) = flume::bounded(1);
    let looking = move || {
        let found = name.to_socket_addrs();
        // Nobody listens any more when it took too long.
        drop(answer.send(found.map(|found| found.take(NODES_MAX).collect())));
        drop(place);
    };
    thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(looking)?;
    Ok(answered)
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
