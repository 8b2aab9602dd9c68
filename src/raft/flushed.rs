//! How far the log is on disk.
//!
//! openraft lets a node apply what a majority has synced, whether its own disk is
//! that far or not. The state would survive the process and its log would not: the
//! node would find a state ahead of its log and refuse to start. So nothing is
//! applied before it is synced here as well.

use std::io;

use tokio::sync::watch;

use crate::journal::JournalError;

/// Told by the journal thread; clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Flushed(watch::Sender<Reach>);

/// What is on disk.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// Index after the last synced entry.
    next: u64,
    /// Nothing more will come.
    is_broken: bool,
}

impl Flushed {
    /// A log that is on disk up to before index `next`.
    pub(super) fn new(next: u64) -> Self {
        let is_broken = false;
        Self(watch::Sender::new(Reach { next, is_broken }))
    }

    /// Index after the last synced entry.
    pub(super) fn next(&self) -> u64 {
        self.0.borrow().next
    }

    /// Notes that the entries before index `next` are synced.
    pub(super) fn reach(&self, next: u64) {
        self.0.send_modify(|reach| reach.next = next);
    }

    /// Notes that the entries from index `next` on are gone.
    pub(super) fn cut(&self, next: u64) {
        self.0
            .send_modify(|reach| reach.next = reach.next.min(next));
    }

    /// Notes that the journal failed.
    pub(super) fn fail(&self) {
        self.0.send_modify(|reach| reach.is_broken = true);
    }

    /// Waits until the entries before index `next` are synced.
    ///
    /// - Errors: the journal failed.
    pub(super) async fn wait(&self, next: u64) -> io::Result<()> {
        let mut reach = self.0.subscribe();
        let waiting = reach.wait_for(|reach| reach.next >= next || reach.is_broken);
        let reached = waiting.await.map(|reach| reach.next >= next);
        if reached.unwrap_or(false) {
            return Ok(());
        }
        Err(io::Error::other(JournalError::Poisoned))
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn a_wait_ends_with_the_sync_or_with_the_journal() {
        let flushed = Flushed::new(3);
        block_on(flushed.wait(3)).unwrap();
        assert!(block_on(poll_once(flushed.wait(4))).is_none());
        flushed.reach(6);
        block_on(flushed.wait(4)).unwrap();
        flushed.cut(4);
        assert_eq!(flushed.next(), 4);
        assert!(block_on(poll_once(flushed.wait(5))).is_none());
        flushed.fail();
        block_on(flushed.wait(5)).unwrap_err();
        block_on(flushed.wait(4)).unwrap();
    }
}
