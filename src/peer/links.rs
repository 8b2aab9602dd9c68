//! Connections to other nodes that wait for their next use.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::connect::connect;
use super::error::ConnectError;
use super::link::Link;
use super::node::PeerNode;
use super::preamble::Purpose;
use super::security::Security;
use crate::base::Clock;
use crate::base::limits::{PEER_IDLE_LINK_TIMEOUT, PEER_IDLE_LINKS_MAX};
use crate::telemetry::Metrics;

/// Connections of one purpose, made by one executor. Whoever takes one has it alone;
/// put back after an exchange that has ended in order, it is used again. At most
/// `PEER_IDLE_LINKS_MAX` wait for each node, none longer than `PEER_IDLE_LINK_TIMEOUT`.
pub struct Links {
    security: Security,
    metrics: Arc<Metrics>,
    clock: Clock,
    purpose: Purpose,
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

/// A connection that waits.
struct Idle {
    address: Box<str>,
    link: Link,
    since: Instant,
}

impl Links {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(security: Security, metrics: Arc<Metrics>, purpose: Purpose) -> Self {
        Self {
            security,
            metrics,
            clock: Clock::system(),
            purpose,
            idle: RefCell::default(),
        }
    }

    /// The idle connection to a node that was used last, when there is one. It may be
    /// dead: the node may have ended meanwhile. Those that have been idle for too long
    /// are closed.
    pub fn take(&self, node: &PeerNode) -> Option<Link> {
        let now = self.clock.now();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, links| {
            links.retain(|each| now.saturating_duration_since(each.since) < PEER_IDLE_LINK_TIMEOUT);
            !links.is_empty()
        });
        let links = idle.get_mut(&node.id)?;
        links.retain(|each| each.address == node.address);
        links.pop().map(|each| each.link)
    }

    /// Makes a new connection.
    ///
    /// - Errors: nothing was asked of the node.
    pub async fn connect(&self, node: &PeerNode) -> Result<Link, ConnectError> {
        match connect(node, self.purpose, &self.security).await {
            Ok(link) => Ok(link.counted_by(&self.metrics)),
            Err(error) => {
                if let Some(reason) = error.reason() {
                    self.metrics.peer.handshake_failures.of(reason).count();
                }
                Err(error)
            }
        }
    }

    /// Keeps a connection for its next use, unless enough are kept or it is worn.
    pub fn put(&self, node: &PeerNode, link: Link) {
        if link.is_worn() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(node.id).or_default();
        if links.len() < PEER_IDLE_LINKS_MAX {
            links.push(Idle {
                address: node.address.clone(),
                link,
                since: self.clock.now(),
            });
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle: usize = self.idle.borrow().values().map(Vec::len).sum();
        f.debug_struct("Links")
            .field("purpose", &self.purpose)
            .field("idle", &idle)
            .finish_non_exhaustive()
    }
}
