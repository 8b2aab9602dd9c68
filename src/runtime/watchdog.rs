//! Notices an executor that stands still, and ends the process.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::fatal::end_process;
use super::notify::{notify_alive, notify_watchdog_period};
use crate::base::Clock;

/// How often the watchdog looks.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Kicks without an answer. An executor that has slept through so many does not
/// sleep: a task holds it. Each kick waits for it with a reference to one task, of
/// which glommio counts 32,767.
const KICKS_MAX: u128 = 10_000;

/// The pulse of one executor; its keep-alive timer ticks it. Crosses threads.
#[derive(Debug, Clone)]
pub struct Beat(Arc<Pulse>);

#[derive(Debug)]
struct Pulse {
    beats: AtomicU64,
    is_retired: AtomicBool,
    /// Wakes the executor from outside, whatever its own timers do: it belongs to a
    /// task there that does nothing else. Set once the task has run.
    kick: OnceLock<Waker>,
}

impl Beat {
    fn new() -> Self {
        Self(Arc::new(Pulse {
            beats: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
            kick: OnceLock::new(),
        }))
    }

    /// Is woken each time the watchdog has missed the executor for one look, and never
    /// ends. A loop that went to sleep on a full queue, its timers used up, goes round
    /// again; and once more with the next kick, when it went to sleep again before it
    /// had run anything. A letter to this task would wake it once only: the next one
    /// finds nobody waiting.
    pub(super) async fn answer_kicks(self) {
        poll_fn(|context| {
            self.0.kick.get_or_init(|| context.waker().clone());
            Poll::<()>::Pending
        })
        .await;
    }

    fn kick(&self) {
        if let Some(kick) = self.0.kick.get() {
            kick.wake_by_ref();
        }
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
            if (1..=KICKS_MAX).contains(&watched.looks_without_beat) {
                watched.beat.kick();
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
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake};

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

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
    fn an_executor_that_was_missed_is_kicked_with_every_look_though_it_answers_none() {
        let (mut watchdog, one, two) = watchdog();
        watchdog.stall_max = LOOK_PERIOD * 100;
        let woken = [Arc::<Woken>::default(), Arc::default()];
        for (beat, woken) in [&one, &two].into_iter().zip(&woken) {
            let waker = Waker::from(Arc::clone(woken));
            let answering = pin!(beat.clone().answer_kicks());
            assert!(
                answering
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        let kicks = || {
            woken
                .each_ref()
                .map(|woken| woken.0.load(Ordering::Relaxed))
        };
        for looks in 1..=5 {
            two.tick();
            assert_eq!(watchdog.look(), None);
            assert_eq!(kicks(), [looks, 0]);
        }
        one.tick();
        two.tick();
        assert_eq!(watchdog.look(), None);
        assert_eq!(kicks(), [5, 0]);
    }

    #[test]
    fn an_executor_that_a_task_holds_is_not_kicked_for_ever() {
        let (mut watchdog, one, _) = watchdog();
        watchdog.stall_max = Duration::MAX;
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let answering = pin!(one.answer_kicks());
        assert!(
            answering
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        for _ in 0..KICKS_MAX + 100 {
            assert_eq!(watchdog.look(), None);
        }
        let kicks = woken.0.load(Ordering::Relaxed);
        assert_eq!(u128::try_from(kicks), Ok(KICKS_MAX));
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
