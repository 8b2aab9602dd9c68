//! Bytes that may be handed out, first come, first served.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::telemetry::Metrics;

/// A share of a pool's budget, given back when dropped.
#[derive(Debug)]
#[must_use = "the bytes are given back when the permit is dropped"]
pub struct Permit {
    bytes: u64,
    budget: Budget,
}

/// Shared by everything that takes bytes from one pool.
#[derive(Debug, Clone)]
pub(super) struct Budget(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    total_bytes: u64,
    free_bytes: u64,
    next_ticket: u64,
    waits: u64,
    waiting: VecDeque<Waiter>,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    bytes: u64,
    waker: Waker,
}

/// A request for bytes that waits its turn.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(super) struct Acquire {
    budget: Budget,
    bytes: u64,
    ticket: Option<u64>,
}

impl Budget {
    pub(super) fn new(total_bytes: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            total_bytes,
            free_bytes: total_bytes,
            next_ticket: 0,
            waits: 0,
            waiting: VecDeque::new(),
            metrics: None,
        })))
    }

    /// From now on, counts in `metrics` too.
    pub(super) fn count_in(&self, metrics: Arc<Metrics>) {
        let mut state = self.0.borrow_mut();
        metrics.machine.pool_bytes.add(signed(state.total_bytes));
        state.metrics = Some(metrics);
    }

    /// Takes `bytes` now, or not at all. Never overtakes a waiter.
    pub(super) fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        let mut state = self.0.borrow_mut();
        Self::check(bytes, &state);
        let is_free = state.waiting.is_empty() && state.free_bytes >= bytes;
        is_free.then(|| self.take(bytes, &mut state))
    }

    /// Takes `bytes` when all who asked before have theirs.
    pub(super) fn acquire(&self, bytes: u64) -> Acquire {
        Self::check(bytes, &self.0.borrow());
        Acquire {
            budget: self.clone(),
            bytes,
            ticket: None,
        }
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.0.borrow().total_bytes
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.0.borrow().free_bytes
    }

    /// How often somebody had to wait, since the start.
    pub(super) fn waits(&self) -> u64 {
        self.0.borrow().waits
    }

    fn check(bytes: u64, state: &State) {
        assert!(bytes > 0, "a buffer holds something");
        assert!(
            bytes <= state.total_bytes,
            "a request for {bytes} bytes can never be met"
        );
    }

    fn take(&self, bytes: u64, state: &mut State) -> Permit {
        state.free_bytes -= bytes;
        if let Some(metrics) = &state.metrics {
            metrics.machine.pool_used_bytes.add(signed(bytes));
        }
        Permit {
            bytes,
            budget: self.clone(),
        }
    }

    /// Tells the first in line when its bytes are free. Only the first: a small
    /// request behind a large one would otherwise starve it.
    fn wake_first(&self) {
        let state = self.0.borrow();
        if let Some(first) = state.waiting.front()
            && first.bytes <= state.free_bytes
        {
            first.waker.wake_by_ref();
        }
    }
}

/// A pool is far smaller than 2^63 bytes.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Permit {
    /// Bytes this permit holds.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.0.borrow_mut();
        state.free_bytes += self.bytes;
        if let Some(metrics) = &state.metrics {
            metrics.machine.pool_used_bytes.add(-signed(self.bytes));
        }
        drop(state);
        self.budget.wake_first();
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let budget = self.budget.clone();
        let mut state = budget.0.borrow_mut();
        let is_first = match (state.waiting.front(), self.ticket) {
            (None, _) => true,
            (Some(first), ticket) => Some(first.ticket) == ticket,
        };
        if is_first && state.free_bytes >= self.bytes {
            if self.ticket.take().is_some() {
                state.waiting.pop_front();
            }
            let permit = budget.take(self.bytes, &mut state);
            drop(state);
            budget.wake_first();
            return Poll::Ready(permit);
        }
        if let Some(ticket) = self.ticket {
            let own = state.waiting.iter_mut().find(|own| own.ticket == ticket);
            if let Some(own) = own {
                own.waker.clone_from(context.waker());
            }
        } else {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waits += 1;
            if let Some(metrics) = &state.metrics {
                metrics.machine.pool_waits.count();
            }
            state.waiting.push_back(Waiter {
                ticket,
                bytes: self.bytes,
                waker: context.waker().clone(),
            });
            self.ticket = Some(ticket);
        }
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.budget
                .0
                .borrow_mut()
                .waiting
                .retain(|waiter| waiter.ticket != ticket);
            self.budget.wake_first();
        }
    }
}

#[cfg(test)]
#[path = "budget_test.rs"]
mod tests;
