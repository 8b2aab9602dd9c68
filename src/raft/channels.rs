//! The channels of openraft's runtime: tokio's, without its runtime. Their
//! wakers cross threads, which is how the journal thread reports completions.

use std::fmt;
use std::future::Future;
use std::ops::Deref;

use openraft_rt::{OptionalSend, OptionalSync, RecvError, SendError, TryRecvError};
use tokio::sync::{mpsc, oneshot, watch};

/// Bounded channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct MpscChannels;

/// Sender of a bounded channel.
#[derive(Debug)]
pub(super) struct MpscSender<T>(mpsc::Sender<T>);

/// Receiver of a bounded channel.
#[derive(Debug)]
pub(super) struct MpscReceiver<T>(mpsc::Receiver<T>);

/// A sender that does not keep the channel open.
#[derive(Debug)]
pub(super) struct MpscWeakSender<T>(mpsc::WeakSender<T>);

impl<T> Clone for MpscSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for MpscWeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl openraft_rt::Mpsc for MpscChannels {
    type Sender<T: OptionalSend> = MpscSender<T>;
    type Receiver<T: OptionalSend> = MpscReceiver<T>;
    type WeakSender<T: OptionalSend> = MpscWeakSender<T>;

    fn channel<T: OptionalSend>(capacity: usize) -> (MpscSender<T>, MpscReceiver<T>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (MpscSender(sender), MpscReceiver(receiver))
    }
}

impl<T: OptionalSend> openraft_rt::MpscSender<MpscChannels, T> for MpscSender<T> {
    async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let sent = self.0.send(message).await;
        sent.map_err(|refused| SendError(refused.0))
    }

    fn downgrade(&self) -> MpscWeakSender<T> {
        MpscWeakSender(self.0.downgrade())
    }
}

impl<T> openraft_rt::MpscReceiver<T> for MpscReceiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> {
        self.0.recv()
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|refused| match refused {
            mpsc::error::TryRecvError::Empty => TryRecvError::Empty,
            mpsc::error::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }
}

impl<T: OptionalSend> openraft_rt::MpscWeakSender<MpscChannels, T> for MpscWeakSender<T> {
    fn upgrade(&self) -> Option<MpscSender<T>> {
        self.0.upgrade().map(MpscSender)
    }
}

/// Channels for one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneshotChannels;

/// Sender of one answer.
#[derive(Debug)]
pub(super) struct OneshotSender<T>(oneshot::Sender<T>);

impl openraft_rt::Oneshot for OneshotChannels {
    type Sender<T: OptionalSend> = OneshotSender<T>;
    type Receiver<T: OptionalSend> = oneshot::Receiver<T>;
    type ReceiverError = oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (OneshotSender<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (OneshotSender(sender), receiver)
    }
}

impl<T: OptionalSend> openraft_rt::OneshotSender<T> for OneshotSender<T> {
    fn send(self, answer: T) -> Result<(), T> {
        self.0.send(answer)
    }
}

/// Channels that hold the newest value.
#[derive(Debug, Clone, Copy)]
pub(super) struct WatchChannels;

/// Replaces the value.
#[derive(Debug)]
pub(super) struct WatchSender<T>(watch::Sender<T>);

/// Sees the value and waits for changes.
#[derive(Debug)]
pub(super) struct WatchReceiver<T>(watch::Receiver<T>);

/// The value, borrowed; it cannot change meanwhile.
pub(super) struct WatchRef<'a, T>(watch::Ref<'a, T>);

impl<T: fmt::Debug> fmt::Debug for WatchRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for WatchRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl openraft_rt::Watch for WatchChannels {
    type Sender<T: OptionalSend + OptionalSync> = WatchSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = WatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = WatchRef<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(first: T) -> (WatchSender<T>, WatchReceiver<T>) {
        let (sender, receiver) = watch::channel(first);
        (WatchSender(sender), WatchReceiver(receiver))
    }
}

impl<T: OptionalSend + OptionalSync> openraft_rt::WatchSender<WatchChannels, T> for WatchSender<T> {
    fn send(&self, value: T) -> Result<(), openraft_rt::watch::SendError<T>> {
        let sent = self.0.send(value);
        sent.map_err(|refused| openraft_rt::watch::SendError(refused.0))
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        self.0.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> WatchRef<'_, T> {
        WatchRef(self.0.borrow())
    }

    fn subscribe(&self) -> WatchReceiver<T> {
        WatchReceiver(self.0.subscribe())
    }
}

impl<T: OptionalSend + OptionalSync> openraft_rt::WatchReceiver<WatchChannels, T>
    for WatchReceiver<T>
{
    async fn changed(&mut self) -> Result<(), RecvError> {
        self.0.changed().await.map_err(|_| RecvError(()))
    }

    fn borrow_watched(&self) -> WatchRef<'_, T> {
        WatchRef(self.0.borrow())
    }

    fn borrow_and_update(&mut self) -> WatchRef<'_, T> {
        WatchRef(self.0.borrow_and_update())
    }
}

/// A mutex whose waiters are tasks.
#[derive(Debug)]
pub(super) struct Mutex<T>(tokio::sync::Mutex<T>);

impl<T: OptionalSend + 'static> openraft_rt::Mutex<T> for Mutex<T> {
    type Guard<'a> = tokio::sync::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(tokio::sync::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> {
        self.0.lock()
    }
}
