//! Counts what is under way, and says when nothing is.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Work under way on one shard. glommio's own gate panics the shard when its close
/// is given up at a deadline; this one may be waited for and given up at will.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Rc<State>);

#[derive(Debug, Default)]
struct State {
    count: Cell<usize>,
    waiters: RefCell<Vec<Waker>>,
}

/// One piece of work under way; dropping it ends the piece.
#[derive(Debug)]
pub struct InFlightGuard(Rc<State>);

impl InFlight {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more piece until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlightGuard {
        self.0.count.set(self.0.count.get() + 1);
        InFlightGuard(Rc::clone(&self.0))
    }

    /// Pieces under way.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count.get()
    }

    /// Waits until nothing is under way.
    pub async fn wait_zero(&self) {
        poll_fn(|context| {
            if self.0.count.get() == 0 {
                return Poll::Ready(());
            }
            self.0.waiters.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0 {
            for waiter in self.0.waiters.take() {
                waiter.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::runtime::{run_alone, spawn, timeout};

    #[test]
    fn wait_zero_may_be_given_up_at_a_deadline_and_asked_again() {
        run_alone(|| async {
            let in_flight = InFlight::new();
            in_flight.wait_zero().await;
            let guard = in_flight.enter();
            let cut = timeout(Duration::from_millis(5), in_flight.wait_zero()).await;
            assert!(cut.is_err());
            let waiter = in_flight.clone();
            let waiting = spawn(async move { waiter.wait_zero().await });
            drop(guard);
            waiting.await.unwrap();
            assert_eq!(in_flight.count(), 0);
        });
    }
}
