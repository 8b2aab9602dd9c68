//! Notices an executor that stands still, and ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::fatal::end_process;
use super::notify::{notify_alive, notify_watchdog_period};
use crate::base::Clock;

/// How often the watchdog looks.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// The pulse of one executor; its keep-alive timer ticks it. Crosses threads.
#[derive(Debug, Clone)]
pub struct Beat(Arc<Pulse>);

#[derive(Debug)]
struct Pulse {
    beats: AtomicU64,
    is_retired: AtomicBool,
    /// Wakes the executor from outside, whatever its own timers do.
    kick: flume::Sender<()>,
    kicked: flume::Receiver<()>,
}

impl Beat {
    fn new() -> Self {
        // One kick waits at most: the executor only has to wake.
        let (kick, kicked) = flume::bounded(1);
        Self(Arc::new(Pulse {
            beats: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
            kick,
            kicked,
        }))
    }

    /// Wakes up each time the watchdog has missed the executor for one look. A loop
    /// that went to sleep on a full queue, its timers used up, goes round again.
    pub(super) async fn answer_kicks(self) {
        while self.0.kicked.recv_async().await.is_ok() {}
    }

    /// Says that the executor moves.
    pub fn tick(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the executor has ended on purpose; nobody expects ticks any more.
    pub(super) fn retire(&self) {
        self.0.is_retired.store(true, Ordering::Relaxed);
    }
}

/// Watches the pulses, from before the first executor starts. Owned by whoever
/// starts the executors; they retire by themselves when they end on purpose.
#[derive(Debug)]
pub struct Watchdog {
    newcomers: flume::Sender<Watched>,
    is_stopped: Arc<AtomicBool>,
}

impl Watchdog {
    /// Starts watching, on a thread that bites after `stall_max`, normally
    /// `WATCHDOG_STALL_MAX`, and lives until [`Watchdog::stop`].
    ///
    /// - Errors: the thread cannot be started.
    pub fn start(stall_max: Duration) -> io::Result<Self> {
        let (newcomers, receiver) = flume::unbounded();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || Watch::new(stall_max, receiver).run(&stopped))?;
        Ok(Self {
            newcomers,
            is_stopped,
        })
    }

    /// The pulse for one more executor, which is expected to beat from now on.
    pub fn beat(&self, name: &str) -> Beat {
        let beat = Beat::new();
        // The thread is gone after a stop; then nobody expects beats.
        drop(self.newcomers.send(Watched {
            name: name.to_owned(),
            beat: beat.clone(),
            beats_seen: 0,
            looks_without_beat: 0,
        }));
        beat
    }

    /// Stops watching; from now on a deadline of the shutdown bounds everything.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Watched {
    name: String,
    beat: Beat,
    beats_seen: u64,
    looks_without_beat: u128,
}

/// What the watchdog's thread owns.
#[derive(Debug)]
struct Watch {
    stall_max: Duration,
    newcomers: flume::Receiver<Watched>,
    watched: Vec<Watched>,
}

impl Watch {
    const fn new(stall_max: Duration, newcomers: flume::Receiver<Watched>) -> Self {
        Self {
            stall_max,
            newcomers,
            watched: Vec::new(),
        }
    }

    fn run(mut self, is_stopped: &AtomicBool) {
        let clock = Clock::system();
        let notify_period = notify_watchdog_period();
        let mut notified: Option<Instant> = None;
        while !is_stopped.load(Ordering::Relaxed) {
            thread::park_timeout(LOOK_PERIOD);
            let stall_max = self.stall_max;
            if let Some(name) = self.look() {
                end_process(&format!("executor {name} has not moved for {stall_max:?}"));
            }
            let is_due = |last: Instant| notify_period.is_some_and(|p| clock.now() - last >= p);
            if notify_period.is_some() && notified.is_none_or(is_due) && self.is_all_moving() {
                notify_alive();
                notified = Some(clock.now());
            }
        }
    }

    /// Looks once at every pulse. Returns the name of an executor that stood still
    /// for `stall_max`.
    ///
    /// Time is counted in looks, never read from a clock: when the whole process is
    /// frozen (stopped, suspended, throttled) this thread is too, and looks at
    /// nothing meanwhile. After the thaw every executor has all of its looks left.
    fn look(&mut self) -> Option<&str> {
        self.watched.extend(self.newcomers.try_iter());
        let looks_max = self.stall_max.as_nanos().div_ceil(LOOK_PERIOD.as_nanos());
        for watched in &mut self.watched {
            let pulse = &watched.beat.0;
            let beats = pulse.beats.load(Ordering::Relaxed);
            let is_due = !pulse.is_retired.load(Ordering::Relaxed);
            watched.looks_without_beat = if is_due && beats == watched.beats_seen {
                watched.looks_without_beat + 1
            } else {
                0
            };
            watched.beats_seen = beats;
            if watched.looks_without_beat > 0 {
                // Full means that a kick is under way already.
                let _ = pulse.kick.try_send(());
            }
        }
        self.watched
            .iter()
            .find(|watched| watched.looks_without_beat >= looks_max)
            .map(|watched| watched.name.as_str())
    }

    fn is_all_moving(&self) -> bool {
        self.watched
            .iter()
            .all(|watched| watched.looks_without_beat == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> (Watch, Beat, Beat) {
        let (newcomers, receiver) = flume::unbounded();
        let watchdog = Watchdog {
            newcomers,
            is_stopped: Arc::default(),
        };
        let one = watchdog.beat("one");
        let two = watchdog.beat("two");
        (Watch::new(LOOK_PERIOD * 3, receiver), one, two)
    }

    #[test]
    fn an_executor_that_was_missed_is_kicked_once_until_it_answers() {
        let (mut watchdog, one, two) = watchdog();
        two.tick();
        assert_eq!(watchdog.look(), None);
        assert_eq!(one.0.kicked.len(), 1);
        assert_eq!(two.0.kicked.len(), 0);
        two.tick();
        assert_eq!(watchdog.look(), None);
        assert_eq!(one.0.kicked.len(), 1, "the first kick still waits");
    }

    #[test]
    fn look_names_the_executor_that_stands_still() {
        let (mut watchdog, one, two) = watchdog();
        for _ in 0..10 {
            one.tick();
            two.tick();
            assert_eq!(watchdog.look(), None);
        }
        let verdicts: Vec<Option<String>> = (0..3)
            .map(|_| {
                one.tick();
                watchdog.look().map(str::to_owned)
            })
            .collect();
        assert_eq!(verdicts, [None, None, Some("two".to_owned())]);
        assert!(!watchdog.is_all_moving());
    }

    #[test]
    fn look_expects_nothing_of_an_executor_that_has_ended() {
        let (mut watchdog, one, two) = watchdog();
        two.retire();
        for _ in 0..10 {
            one.tick();
            assert_eq!(watchdog.look(), None);
        }
        assert!(watchdog.is_all_moving());
    }

    #[test]
    fn look_forgives_a_pause_shorter_than_the_limit() {
        let (mut watchdog, one, two) = watchdog();
        for _ in 0..10 {
            one.tick();
            two.tick();
            assert_eq!(watchdog.look(), None);
            assert_eq!(watchdog.look(), None);
            assert_eq!(watchdog.look(), None);
        }
    }
}
