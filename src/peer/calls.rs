//! Calls to other nodes, from one executor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backoff::Backoff;
use super::connection::{Connection, Ended, Target};
use super::drive::Watch;
use super::error::{CallError, ConnectError, RefusalCode};
use super::frame::fits;
use super::node::PeerNode;
use super::security::Security;
use super::service::{Lane, Service};
use crate::base::Clock;
use crate::base::limits::{PEER_PING_PERIOD, PEER_SILENCE_MAX};
use crate::runtime::{Task, spawn, timeout};
use crate::telemetry::{CallEnd, Metrics};

/// Ended connections are forgotten when there are so many slots: three for each of
/// hundreds of nodes that came and went.
const SLOTS_MAX: usize = 1024;

/// Makes calls to other nodes. One per executor; clones share their connections, one
/// for each node and lane, made when first needed and made anew after they end. The
/// connections end with the last clone.
#[derive(Clone)]
pub struct Calls(Rc<Shared>);

struct Shared {
    security: Security,
    metrics: Arc<Metrics>,
    clock: Clock,
    watch: Watch,
    slots: RefCell<HashMap<(u64, Lane), Slot>>,
}

/// The connection to one node on one lane, and its history.
struct Slot {
    address: Box<str>,
    connection: Rc<Connection>,
    /// Dropping it ends the connection.
    driver: Task<()>,
    backoff: Backoff,
    /// What calls come to while the next attempt must wait.
    failure: Option<Ended>,
}

impl Calls {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(security: Security, metrics: Arc<Metrics>) -> Self {
        let watch = Watch {
            period: PEER_PING_PERIOD,
            silence_max: PEER_SILENCE_MAX,
        };
        Self::watched(security, metrics, watch)
    }

    /// Where calls are counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    fn watched(security: Security, metrics: Arc<Metrics>, watch: Watch) -> Self {
        Self(Rc::new(Shared {
            security,
            metrics,
            clock: Clock::system(),
            watch,
            slots: RefCell::default(),
        }))
    }

    /// Sends one call, waits for its answer, at most `limit`. Connects when there is
    /// no connection; never sends a call twice.
    ///
    /// - Errors: `Unreachable` when the call was not made, `Lost` and `TimedOut` when it
    ///   may have been served, `Refused` as the other node says; also here, with
    ///   `TooLarge`, for a payload that no frame holds.
    /// - Cancel: the call is forgotten; it may still be served.
    pub async fn call(
        &self,
        node: &PeerNode,
        service: Service,
        payload: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        let began = self.0.clock.now();
        let outcome = match timeout(limit, self.call_unlimited(node, service, payload)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::TimedOut),
        };
        let peer = &self.0.metrics.peer;
        let end = outcome
            .as_ref()
            .err()
            .map_or(CallEnd::Answered, CallError::label);
        peer.calls.of((service.label(), end)).count();
        if outcome.is_ok() {
            let elapsed = self.0.clock.now().saturating_duration_since(began);
            peer.call_seconds.of(service.label()).observe(elapsed);
        }
        outcome
    }

    async fn call_unlimited(
        &self,
        node: &PeerNode,
        service: Service,
        payload: Bytes,
    ) -> Result<Bytes, CallError> {
        if !fits(payload.len()) {
            return Err(CallError::Refused {
                code: RefusalCode::TooLarge,
                reason: format!("a call of {} bytes", payload.len()).into(),
            });
        }
        let connection = self.0.connection(node, service.lane())?;
        connection.call(node, service, payload).await
    }
}

impl Shared {
    /// The connection to use: the one there is, or a new one when its time has come.
    fn connection(&self, node: &PeerNode, lane: Lane) -> Result<Rc<Connection>, CallError> {
        let mut slots = self.slots.borrow_mut();
        let key = (node.id, lane);
        if let Some(slot) = slots.get_mut(&key)
            && slot.address == node.address
        {
            let Some(ended) = slot.connection.ended() else {
                return Ok(Rc::clone(&slot.connection));
            };
            slot.note(ended);
            if let Some(failure) = &slot.failure
                && slot.backoff.is_resting(self.clock.now())
            {
                return Err(failure.error(node));
            }
            (slot.connection, slot.driver) = self.start(node, lane);
            slot.failure = None;
            return Ok(Rc::clone(&slot.connection));
        }
        if slots.len() >= SLOTS_MAX {
            slots.retain(|_, slot| slot.connection.ended().is_none());
        }
        let (connection, driver) = self.start(node, lane);
        let slot = Slot {
            address: node.address.clone(),
            connection: Rc::clone(&connection),
            driver,
            backoff: Backoff::default(),
            failure: None,
        };
        slots.insert(key, slot);
        Ok(connection)
    }

    fn start(&self, node: &PeerNode, lane: Lane) -> (Rc<Connection>, Task<()>) {
        let connection = Rc::new(Connection::new(self.clock.clone()));
        let target = Target {
            node: node.clone(),
            lane,
            security: self.security.clone(),
            metrics: Arc::clone(&self.metrics),
            watch: self.watch,
        };
        let driver = spawn(Rc::clone(&connection).run(target));
        (connection, driver)
    }
}

impl Slot {
    /// Draws the conclusion from an end, once: a connection on which nothing was
    /// heard is a failed attempt.
    fn note(&mut self, ended: Ended) {
        if self.failure.is_some() {
            return;
        }
        if self.connection.has_heard() {
            self.backoff.worked();
            return;
        }
        self.backoff.failed(ended.at);
        let silent = || Arc::new(ConnectError::Silent);
        self.failure = Some(Ended {
            unreachable: ended.unreachable.or_else(|| Some(silent())),
            ..ended
        });
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("connections", &self.0.slots.borrow().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "calls_test.rs"]
mod tests;
