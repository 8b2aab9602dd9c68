//! What the connections of one shard share at one door.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::{Clock, RequestId, random_bytes};
use crate::http::http_date;
use crate::runtime::{Shutdown, Task, sleep, spawn};
use crate::telemetry::Metrics;

use super::deadline::Deadlines;
use super::options::Options;

/// How often deadlines are looked at: what a deadline may be late.
const TICK_PERIOD: Duration = Duration::from_millis(50);

/// From one request number to the next: odd, so that all 2^64 come before one
/// comes again, and large, so that neighbours do not look alike.
const REQUEST_NUMBER_STEPS: u64 = 0x9e37_79b9_7f4a_7c15;

/// One door on one shard: its options, its deadlines, its counters, the date.
///
/// Made on the shard's executor, where its ticker runs until the door is dropped.
pub struct Door {
    options: Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    /// When shutdown was noticed.
    stopping_since: Cell<Option<Instant>>,
    deadlines: Rc<Deadlines>,
    date: RefCell<Date>,
    /// Steps of a Weyl sequence: every id of this door is another one, and the
    /// kernel is asked for randomness once.
    request_number: Cell<u64>,
    /// Stops when it is dropped with the door.
    _ticker: Task<()>,
}

/// The `Date` line of this second.
#[derive(Debug, Default)]
struct Date {
    unix_seconds: u64,
    line: Rc<str>,
}

impl Door {
    /// Opens a door and starts its ticker.
    ///
    /// - Panics: outside of an executor.
    #[must_use]
    pub fn open(options: Options, metrics: Arc<Metrics>, shutdown: Shutdown) -> Rc<Self> {
        let clock = Clock::system();
        let door = Rc::new_cyclic(|door| Self {
            options,
            deadlines: Deadlines::new(clock.now()),
            clock,
            metrics,
            shutdown,
            stopping_since: Cell::new(None),
            date: RefCell::default(),
            request_number: Cell::new(u64::from_le_bytes(random_bytes())),
            _ticker: spawn(tick_until_closed(Weak::clone(door))),
        });
        door.refresh_date();
        door
    }

    /// Connections being served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.deadlines.count()
    }

    /// Ends the connection at a listener that has been without a request for longest;
    /// false when all have one.
    #[must_use]
    pub fn displace(&self, listener: u8) -> bool {
        self.deadlines.displace(listener)
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown.is_requested()
    }

    pub(super) const fn deadlines(&self) -> &Rc<Deadlines> {
        &self.deadlines
    }

    /// Exact now.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The `Date` line, with its CRLF.
    pub(super) fn date_line(&self) -> Rc<str> {
        Rc::clone(&self.date.borrow().line)
    }

    /// An id that no other request of this door has.
    pub(super) fn next_request_id(&self) -> RequestId {
        let number = self.request_number.get().wrapping_add(REQUEST_NUMBER_STEPS);
        self.request_number.set(number);
        RequestId::of_number(number)
    }

    fn tick(&self) {
        let now = self.clock.now();
        self.deadlines.tick(now);
        self.refresh_date();
        if self.shutdown.is_requested() {
            let since = self.stopping_since.get().unwrap_or(now);
            self.stopping_since.set(Some(since));
            if now - since >= self.options.parting_timeout {
                self.deadlines.elapse_idle();
            }
        }
    }

    fn refresh_date(&self) {
        let unix_seconds = self.clock.unix_ms() / 1000;
        let mut date = self.date.borrow_mut();
        if date.unix_seconds != unix_seconds {
            let line = format!("Date: {}\r\n", http_date(unix_seconds)).into();
            *date = Date { unix_seconds, line };
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("options", &self.options)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

async fn tick_until_closed(door: Weak<Door>) {
    loop {
        sleep(TICK_PERIOD).await;
        let Some(door) = door.upgrade() else { return };
        door.tick();
    }
}
