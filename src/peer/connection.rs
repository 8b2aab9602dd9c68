//! The calling end of one connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::connect::connect;
use super::drive::{End, Endpoint, Watch, drive};
use super::error::{CallError, ConnectError, RefusalCode};
use super::frame::{Frame, FrameError, FrameKind, HEADER_BYTES, decode_refusal};
use super::node::PeerNode;
use super::outbox::Outbox;
use super::security::Security;
use super::service::{Lane, Service};
use crate::base::Clock;
use crate::base::limits::{
    PEER_CALL_BYTES_MAX, PEER_CALLS_MAX, PEER_IDLE_TIMEOUT, PEER_PAYLOAD_BYTES_MAX,
};
use crate::base::units::{to_u32, to_usize};
use crate::telemetry::Metrics;

/// One connection for calls, from before it is made until after it has ended. Calls
/// may be made at once and go as soon as they can. Shared by the calls and by the
/// task that drives it; never made anew: a `Slot` replaces it.
#[derive(Debug)]
pub(super) struct Connection {
    outbox: Outbox,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Result<Bytes, CallError>>>>,
    next_id: Cell<u64>,
    places: Semaphore,
    room: Semaphore,
    clock: Clock,
    last_call: Cell<Instant>,
    has_heard: Cell<bool>,
    ended: RefCell<Option<Ended>>,
}

/// How and when a connection ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) at: Instant,
    /// Why it never was one.
    pub(super) unreachable: Option<Arc<ConnectError>>,
}

/// Who is called, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) node: PeerNode,
    pub(super) lane: Lane,
    pub(super) security: Security,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watch: Watch,
}

impl Connection {
    /// A connection to be driven by [`Connection::run`].
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            outbox: Outbox::default(),
            waiting: RefCell::default(),
            next_id: Cell::new(1),
            places: Semaphore::new(PEER_CALLS_MAX),
            room: Semaphore::new(to_usize(PEER_CALL_BYTES_MAX)),
            last_call: Cell::new(clock.now()),
            clock,
            has_heard: Cell::new(false),
            ended: RefCell::new(None),
        }
    }

    /// How it ended, when it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// Whether anything ever came from the other end.
    pub(super) const fn has_heard(&self) -> bool {
        self.has_heard.get()
    }

    /// Connects and moves frames until the connection ends.
    ///
    /// - Cancel: ends the connection and the calls on it.
    pub(super) async fn run(self: Rc<Self>, target: Target) {
        let ending = Ending(Rc::clone(&self));
        let peer = &target.metrics.peer;
        match connect(&target.node, target.lane.purpose(), &target.security).await {
            Ok(link) => {
                let link = link.counted_by(&target.metrics);
                let end = drive(link, &self.outbox, target.watch, &*self).await;
                if let End::Frame(_) = &end {
                    peer.broken_frames.count();
                }
                let Target { node, lane, .. } = &target;
                tracing::debug!(node = node.id, ?lane, %end, "a connection to a node ended");
                self.end(None);
            }
            Err(error) => {
                if let Some(reason) = error.reason() {
                    peer.handshake_failures.of(reason).count();
                }
                self.end(Some(Arc::new(error)));
            }
        }
        drop(ending);
    }

    /// Sends a call and waits for what comes of it.
    ///
    /// - Cancel: the call is forgotten; it may still be served.
    pub(super) async fn call(
        &self,
        node: &PeerNode,
        service: Service,
        payload: Bytes,
    ) -> Result<Bytes, CallError> {
        let _place = self.places.acquire().await;
        let bytes = to_u32(HEADER_BYTES + payload.len());
        let _room = self.room.acquire_many(bytes).await;
        if let Some(ended) = self.ended() {
            return Err(ended.error(node));
        }
        let (answer, answered) = oneshot::channel();
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.last_call.set(self.clock.now());
        self.waiting.borrow_mut().insert(id, answer);
        let _waiting = Waiting {
            connection: self,
            id,
        };
        let frame = Frame {
            kind: FrameKind::Call,
            service: service.code(),
            id,
            payload,
        };
        self.outbox.push(frame, None);
        match answered.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self
                .ended()
                .map_or(CallError::Lost, |ended| ended.error(node))),
        }
    }

    /// Whether no call waits, and none is left to go.
    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        self.waiting.borrow().is_empty() && self.outbox.count() == 0
    }

    /// Ends the calls that wait; the first reason given stays.
    fn end(&self, unreachable: Option<Arc<ConnectError>>) {
        let at = self.clock.now();
        self.ended
            .borrow_mut()
            .get_or_insert(Ended { at, unreachable });
        self.places.close();
        self.room.close();
        self.waiting.take();
    }
}

impl Endpoint for Connection {
    fn payload_bytes_max(&self) -> u32 {
        PEER_PAYLOAD_BYTES_MAX
    }

    fn receive(&self, frame: Frame) -> Result<(), FrameError> {
        self.has_heard.set(true);
        let outcome = match frame.kind {
            FrameKind::Answer => Ok(frame.payload),
            FrameKind::Refusal => {
                let refusal = decode_refusal(&frame.payload);
                let (code, reason) = refusal.map_err(|_| FrameError::Unexpected)?;
                let code = RefusalCode::of_code(code);
                Err(CallError::Refused { code, reason })
            }
            FrameKind::Call | FrameKind::Ping | FrameKind::Pong => {
                return Err(FrameError::Unexpected);
            }
        };
        if frame.id >= self.next_id.get() {
            return Err(FrameError::Unexpected);
        }
        // A call that was given up has nobody waiting.
        if let Some(answer) = self.waiting.borrow_mut().remove(&frame.id) {
            drop(answer.send(outcome));
        }
        Ok(())
    }

    fn look(&self) -> bool {
        let now = self.clock.now();
        let idle = now.saturating_duration_since(self.last_call.get());
        let is_used = !self.waiting.borrow().is_empty() || idle < PEER_IDLE_TIMEOUT;
        if is_used {
            self.outbox.ping(self.next_id.get());
        }
        is_used
    }
}

impl Ended {
    /// What a call on such a connection comes to.
    pub(super) fn error(&self, node: &PeerNode) -> CallError {
        match &self.unreachable {
            None => CallError::Lost,
            Some(source) => CallError::Unreachable {
                node: node.id,
                address: node.address.clone(),
                source: Arc::clone(source),
            },
        }
    }
}

/// A call's place among those that wait; leaves it when dropped.
struct Waiting<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let was_waiting = self.connection.waiting.borrow_mut().remove(&self.id);
        if was_waiting.is_some() {
            self.connection.outbox.forget(self.id);
        }
    }
}

/// Ends the connection however its task ends.
struct Ending(Rc<Connection>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(None);
    }
}
