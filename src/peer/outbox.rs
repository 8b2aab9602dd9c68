//! Frames that wait for the socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::frame::{Frame, FrameKind};

/// What one connection has to send, in order; signs of life first, of which only the
/// newest of each kind counts. Whoever pushes calls and answers keeps their bound.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: RefCell<VecDeque<Outgoing>>,
    ping: Cell<Option<u64>>,
    pong: Cell<Option<u64>>,
    writer: RefCell<Option<Waker>>,
}

/// A frame, and the room it was given until it has gone.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) frame: Frame,
    /// Given back when the frame has gone.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Outbox {
    /// Sends a frame after those that wait.
    pub(super) fn push(&self, frame: Frame, room: Option<OwnedSemaphorePermit>) {
        self.frames.borrow_mut().push_back(Outgoing { frame, room });
        self.wake();
    }

    /// Asks the other end whether it is alive.
    pub(super) fn ping(&self, id: u64) {
        self.ping.set(Some(id));
        self.wake();
    }

    /// Answers a ping.
    pub(super) fn pong(&self, id: u64) {
        self.pong.set(Some(id));
        self.wake();
    }

    /// Takes a frame back, unless it has begun to go.
    pub(super) fn forget(&self, id: u64) {
        self.frames
            .borrow_mut()
            .retain(|outgoing| outgoing.frame.id != id);
    }

    /// Frames that wait.
    pub(super) fn count(&self) -> usize {
        self.frames.borrow().len()
    }

    /// The next frame, when one waits.
    pub(super) fn take(&self) -> Option<Outgoing> {
        if let Some(id) = self.pong.take() {
            return Some(Outgoing::sign(FrameKind::Pong, id));
        }
        if let Some(id) = self.ping.take() {
            return Some(Outgoing::sign(FrameKind::Ping, id));
        }
        self.frames.borrow_mut().pop_front()
    }

    /// Waits for the next frame. One task waits at a time.
    pub(super) async fn next(&self) -> Outgoing {
        poll_fn(|context| {
            let taken = self.take();
            if taken.is_none() {
                *self.writer.borrow_mut() = Some(context.waker().clone());
            }
            taken.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Outgoing {
    fn sign(kind: FrameKind, id: u64) -> Self {
        let frame = Frame {
            kind,
            service: 0,
            id,
            payload: Bytes::new(),
        };
        Self { frame, room: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: u64) -> Frame {
        Frame {
            kind: FrameKind::Call,
            service: 1,
            id,
            payload: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn signs_of_life_overtake_and_forgotten_calls_do_not_go() {
        let outbox = Outbox::default();
        for id in [1, 2, 3] {
            outbox.push(call(id), None);
        }
        outbox.ping(7);
        outbox.pong(8);
        outbox.pong(9);
        outbox.forget(2);
        assert_eq!(outbox.count(), 2);
        let taken: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
        let ids: Vec<_> = taken.iter().map(|each| each.frame.id).collect();
        assert_eq!(ids, [9, 7, 1, 3]);
    }
}
