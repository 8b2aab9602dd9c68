//! Deadlines of all connections of a shard, kept by one ticker.
//!
//! A request that never waits costs no timer, and one that waits costs two
//! stores: the ticker looks at the slots only when the earliest deadline that
//! was ever set has passed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// The time was up before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed;

/// The deadlines of one shard's connections. Owned by that shard's door.
#[derive(Debug)]
pub(super) struct Deadlines {
    slots: RefCell<Vec<Option<Rc<Slot>>>>,
    /// Free places in `slots`.
    vacant: RefCell<Vec<usize>>,
    /// The time of the last tick.
    now: Cell<Instant>,
    /// No slot's deadline is earlier.
    earliest: Cell<Option<Instant>>,
    /// The listener of which nobody was found idle, and when.
    fruitless: Cell<Option<(u8, Instant)>>,
}

#[derive(Default)]
struct Slot {
    deadline: Cell<Option<Instant>>,
    waker: Cell<Option<Waker>>,
    is_elapsed: Cell<bool>,
    /// The connection waits for a request that has not begun.
    is_idle: Cell<bool>,
    /// Where it came in; `None` while it does.
    listener: Option<u8>,
}

/// One connection's place among the deadlines; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Deadline {
    deadlines: Rc<Deadlines>,
    slot: Rc<Slot>,
    index: usize,
}

/// Ends the waiting of one connection.
#[derive(Debug)]
pub(super) struct Cutter(Rc<Slot>);

impl Cutter {
    /// Ends it now.
    pub(super) fn cut(&self) {
        self.0.elapse();
    }
}

impl Deadlines {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            vacant: RefCell::default(),
            now: Cell::new(now),
            earliest: Cell::new(None),
            fruitless: Cell::new(None),
        })
    }

    /// Makes place for a connection that is not let in yet.
    pub(super) fn enter(self: &Rc<Self>) -> Deadline {
        self.place(Slot::default())
    }

    /// Makes place for a connection that came in at this listener.
    pub(super) fn enter_at(self: &Rc<Self>, listener: u8) -> Deadline {
        self.place(Slot {
            listener: Some(listener),
            ..Slot::default()
        })
    }

    fn place(self: &Rc<Self>, slot: Slot) -> Deadline {
        let slot = Rc::new(slot);
        let mut slots = self.slots.borrow_mut();
        let index = self.vacant.borrow_mut().pop().unwrap_or(slots.len());
        if let Some(place) = slots.get_mut(index) {
            *place = Some(Rc::clone(&slot));
        } else {
            slots.push(Some(Rc::clone(&slot)));
        }
        Deadline {
            deadlines: Rc::clone(self),
            slot,
            index,
        }
    }

    /// Connections that have a place.
    pub(super) fn count(&self) -> usize {
        self.slots.borrow().len() - self.vacant.borrow().len()
    }

    /// The time of the last tick: exact to the ticker's period, and free.
    pub(super) fn coarse_now(&self) -> Instant {
        self.now.get()
    }

    /// Moves the time; wakes the connections whose time is up.
    pub(super) fn tick(&self, now: Instant) {
        self.now.set(now);
        if self.earliest.get().is_none_or(|earliest| now < earliest) {
            return;
        }
        let mut earliest = None;
        for slot in self.slots.borrow().iter().flatten() {
            match slot.deadline.get() {
                Some(deadline) if deadline <= now => slot.elapse(),
                Some(deadline) => earliest = earliest.into_iter().chain([deadline]).min(),
                None => {}
            }
        }
        self.earliest.set(earliest);
    }

    /// Ends the waiting of the connection at a listener that has been without a request
    /// for longest; false when none is. Not asked again before the next tick then.
    pub(super) fn displace(&self, listener: u8) -> bool {
        let look = Some((listener, self.now.get()));
        if self.fruitless.get() == look {
            return false;
        }
        let slots = self.slots.borrow();
        let idle = slots.iter().flatten().filter(|slot| {
            slot.listener == Some(listener) && slot.is_idle.get() && slot.deadline.get().is_some()
        });
        let longest = idle.min_by_key(|slot| slot.deadline.get());
        match longest {
            Some(slot) => slot.elapse(),
            None => self.fruitless.set(look),
        }
        longest.is_some()
    }

    /// Ends the waiting of every connection that has no request.
    pub(super) fn elapse_idle(&self) {
        for slot in self.slots.borrow().iter().flatten() {
            if slot.is_idle.get() {
                slot.elapse();
            }
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("deadline", &self.deadline.get())
            .field("is_idle", &self.is_idle.get())
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn elapse(&self) {
        self.deadline.set(None);
        self.is_elapsed.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Deadline {
    /// Gives `future` until `limit` from now, to the ticker's precision.
    ///
    /// - Cancel: as the future itself.
    pub(super) async fn within<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut is_armed = false;
        let slot = &self.slot;
        poll_fn(move |context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                slot.deadline.set(None);
                return Poll::Ready(Ok(output));
            }
            if !is_armed {
                is_armed = true;
                slot.is_elapsed.set(false);
                self.arm(limit);
            } else if slot.is_elapsed.get() {
                return Poll::Ready(Err(Elapsed));
            }
            slot.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// What ends the waiting early, as if the time were up.
    pub(super) fn cutter(&self) -> Cutter {
        Cutter(Rc::clone(&self.slot))
    }

    /// As [`Self::within`], for a connection that waits for its next request: a
    /// shutdown ends the waiting.
    pub(super) async fn within_idle<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        self.slot.is_idle.set(true);
        let output = self.within(limit, future).await;
        self.slot.is_idle.set(false);
        output
    }

    fn arm(&self, limit: Duration) {
        let deadline = self.deadlines.now.get() + limit;
        self.slot.deadline.set(Some(deadline));
        let earliest = self.deadlines.earliest.get();
        if earliest.is_none_or(|earliest| deadline < earliest) {
            self.deadlines.earliest.set(Some(deadline));
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(place) = self.deadlines.slots.borrow_mut().get_mut(self.index) {
            *place = None;
        }
        self.deadlines.vacant.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use futures_util::FutureExt as _;
    use std::future::{pending, ready};
    use std::task::Context;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_ready_future_arms_nothing() {
        let deadlines = Deadlines::new(Clock::hand_moved().now());
        let deadline = deadlines.enter();
        assert_eq!(
            deadline.within(SECOND, ready(7)).now_or_never(),
            Some(Ok(7))
        );
        assert_eq!(deadlines.earliest.get(), None);
    }

    #[test]
    fn a_waiting_future_is_cut_at_the_first_tick_after_its_time() {
        let start = Clock::hand_moved().now();
        let deadlines = Deadlines::new(start);
        let (early, late) = (deadlines.enter(), deadlines.enter());
        let mut early = pin!(early.within(SECOND, pending::<()>()));
        let mut late = pin!(late.within(SECOND * 2, pending::<()>()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(early.as_mut().poll(&mut context).is_pending());
        assert!(late.as_mut().poll(&mut context).is_pending());
        deadlines.tick(start + SECOND / 2);
        assert!(early.as_mut().poll(&mut context).is_pending());
        deadlines.tick(start + SECOND);
        assert_eq!(early.as_mut().poll(&mut context), Poll::Ready(Err(Elapsed)));
        assert!(late.as_mut().poll(&mut context).is_pending());
        deadlines.tick(start + SECOND * 3);
        assert_eq!(late.as_mut().poll(&mut context), Poll::Ready(Err(Elapsed)));
    }

    #[test]
    fn an_elapsed_deadline_does_not_leak_into_the_next_wait() {
        let start = Clock::hand_moved().now();
        let deadlines = Deadlines::new(start);
        let deadline = deadlines.enter();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(deadline.within(SECOND, pending::<()>()));
            assert!(first.as_mut().poll(&mut context).is_pending());
            deadlines.tick(start + SECOND);
        }
        let mut second = pin!(deadline.within(SECOND, pending::<()>()));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
    }

    #[test]
    fn who_has_been_idle_for_longest_gives_way_at_its_own_listener() {
        let clock = Clock::hand_moved();
        let deadlines = Deadlines::new(clock.now());
        let entering = deadlines.enter();
        let [elsewhere, busy, late, early] = [1, 0, 0, 0].map(|at| deadlines.enter_at(at));
        let mut context = Context::from_waker(Waker::noop());
        let mut entering = pin!(entering.within_idle(SECOND, pending::<()>()));
        let mut elsewhere = pin!(elsewhere.within_idle(SECOND, pending::<()>()));
        let mut busy = pin!(busy.within(SECOND, pending::<()>()));
        let mut early = pin!(early.within_idle(SECOND, pending::<()>()));
        let mut late = pin!(late.within_idle(SECOND, pending::<()>()));
        assert!(entering.as_mut().poll(&mut context).is_pending());
        assert!(elsewhere.as_mut().poll(&mut context).is_pending());
        assert!(busy.as_mut().poll(&mut context).is_pending());
        assert!(early.as_mut().poll(&mut context).is_pending());
        deadlines.tick(clock.now() + SECOND / 2);
        assert!(late.as_mut().poll(&mut context).is_pending());
        assert!(deadlines.displace(0));
        assert!(late.as_mut().poll(&mut context).is_pending());
        assert!(early.as_mut().poll(&mut context).is_ready());
        assert!(deadlines.displace(0) && late.as_mut().poll(&mut context).is_ready());
        assert!(!deadlines.displace(0));
        assert!(busy.as_mut().poll(&mut context).is_pending());
        assert!(elsewhere.as_mut().poll(&mut context).is_pending());
        assert!(entering.as_mut().poll(&mut context).is_pending());
    }

    #[test]
    fn a_shutdown_ends_idle_waits_only_and_places_are_used_again() {
        let deadlines = Deadlines::new(Clock::hand_moved().now());
        let (idle, busy) = (deadlines.enter(), deadlines.enter());
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut idle = pin!(idle.within_idle(SECOND, pending::<()>()));
            let mut busy = pin!(busy.within(SECOND, pending::<()>()));
            assert!(idle.as_mut().poll(&mut context).is_pending());
            assert!(busy.as_mut().poll(&mut context).is_pending());
            deadlines.elapse_idle();
            assert!(idle.as_mut().poll(&mut context).is_ready());
            assert!(busy.as_mut().poll(&mut context).is_pending());
        }
        drop(idle);
        assert_eq!(deadlines.count(), 1);
        drop((busy, deadlines.enter()));
        assert_eq!(deadlines.slots.borrow().len(), 2);
    }
}
