//! The other nodes, as somebody else knows them.

use std::fmt;
use std::sync::Arc;

use crate::peer::PeerNode;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its number and where it is.
    pub node: PeerNode,
    /// Whether it votes. A copy that is to be counted on must be with a voter: any
    /// majority of voters then includes one that has it.
    pub is_voter: bool,
}

/// Says which nodes there are now. Asked often, from every shard.
#[derive(Clone)]
pub struct Peers(Arc<dyn Fn() -> Vec<Peer> + Send + Sync>);

impl Peers {
    /// Asks `list` each time; whether it names this node does not matter.
    #[must_use]
    pub fn new(list: impl Fn() -> Vec<Peer> + Send + Sync + 'static) -> Self {
        Self(Arc::new(list))
    }

    /// Every node but `own`.
    pub(super) fn others(&self, own: u64) -> Vec<Peer> {
        let mut peers = (self.0)();
        peers.retain(|peer| peer.node.id != own);
        peers
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&(self.0)()).finish()
    }
}
