//! Executors: one thread, one loop, started ready to use.

use std::cell::{Cell, OnceCell};
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use glommio::timer::Timer;
use glommio::{
    GlommioError, Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle,
};

use super::fatal::end_process;
use super::handle::start;
use super::plan::Place;
use super::probe::{ProbeError, prime};
use super::task::panic_message;
use super::watchdog::Beat;
use crate::base::limits::{KEEP_ALIVE_IDLE_PERIOD, KEEP_ALIVE_PERIOD, OFF_SHARD_THREADS};

/// Entries of each of an executor's rings.
const RING_ENTRIES: usize = 256;
/// How long the loop may run queues without a latency goal before it looks at its
/// rings again: the one of the keep-alive timers, which has next to nothing to do.
///
/// A loop whose time is up before it has run anything goes to sleep on full queues, as
/// that of a thread that has to wait for its CPU. Before its first task has run it knows
/// of no timer and nobody knows of it, so that nothing wakes it any more. So no thread may
/// wait as long as this. With 0.5 ms a start hung once in a run of kill and restart on two
/// crowded CPUs; a quota may hold a thread up for a hundred.
const FIRST_PERIOD: Duration = Duration::from_secs(60 * 60);
/// Goal of the only other queue where an executor is not divided.
const ALONE_LATENCY: Duration = Duration::from_millis(100);
/// The main future begins after so little: in a turn of the loop that knows its goal.
const FIRST_TURN: Duration = Duration::from_micros(100);
/// The same while the prompt queue has work, which is nearly always. Longer, and
/// one warm download holds up a manifest for tens of milliseconds.
const PROMPT_LATENCY: Duration = Duration::from_micros(500);
/// How long the bulk queue may run before the loop looks at its rings again.
/// Without a goal of its own a warm download runs for as long as it likes, and
/// requests that arrive meanwhile wait for all of it.
const BULK_LATENCY: Duration = Duration::from_millis(2);
/// An executor that ran tasks for less than one part in this many of the last
/// keep-alive period counts as idle.
const IDLE_PARTS_MIN: u32 = 100;
/// Timers of which each wakes an executor that slept through the ones before.
const CHANCES: usize = 4;
/// Weight of the prompt queue against the bulk queue.
const PROMPT_SHARES: usize = 1000;
/// Weight of the bulk queue.
const BULK_SHARES: usize = 100;

/// How one executor is set up.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Name of its thread and in the log.
    pub name: String,
    /// CPU it is bound to.
    pub place: Place,
    /// Memory for direct I/O that the rings share; `memory::region_bytes` of the
    /// pool's budget. Registered with the kernel when the limits allow it.
    pub region_bytes: u32,
    /// Where this executor will read and write files; `None` when it does not.
    pub data_directory: Option<PathBuf>,
    /// Whether a panic in any task ends the process, as on the raft core.
    pub is_panic_fatal: bool,
    /// Told by the keep-alive timers that the executor moves.
    pub beat: Option<Beat>,
}

/// Why an executor did not start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The thread or its rings could not be made.
    #[error("start executor {name}")]
    Start {
        /// Name of the executor.
        name: String,
        /// What the runtime said.
        source: GlommioError<()>,
    },
    /// The data directory could not be probed.
    #[error("prepare executor {name}")]
    Probe {
        /// Name of the executor.
        name: String,
        /// What failed.
        source: ProbeError,
    },
    /// The thread ended by a panic that no task caught.
    #[error("executor {name} panicked: {message}")]
    Panicked {
        /// Name of the executor.
        name: String,
        /// What the panic said.
        message: Box<str>,
    },
}

/// A running executor. Join it; dropping the handle leaves the thread alone.
#[derive(Debug)]
#[must_use = "join the executor to learn how it ended"]
pub struct ExecutorHandle<T: Send + 'static> {
    name: String,
    join: glommio::ExecutorJoinHandle<Result<T, ProbeError>>,
}

impl<T: Send + 'static> ExecutorHandle<T> {
    /// Waits on this thread until the executor's main future has returned.
    pub fn join(self) -> Result<T, ExecutorError> {
        let name = self.name;
        match self.join.join() {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(source)) => Err(ExecutorError::Probe { name, source }),
            Err(GlommioError::BuilderError(glommio::BuilderErrorKind::ThreadPanic(payload))) => {
                Err(ExecutorError::Panicked {
                    name,
                    message: panic_message(payload.as_ref()),
                })
            }
            Err(source) => Err(ExecutorError::Start { name, source }),
        }
    }
}

/// Starts one executor and waits until its loop runs and its device is probed.
///
/// `main` runs in the prompt queue, and so does everything it spawns; when it
/// returns, the executor ends and unfinished tasks are abandoned.
///
/// - Errors: no rings, no memory for them, no such CPU, no access to the data
///   directory; all before `main` runs.
pub fn spawn_executor<T, F>(
    options: ExecutorOptions,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<ExecutorHandle<T>, ExecutorError>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let placement = match options.place {
        Place::Cpu(cpu) => Placement::Fixed(cpu),
        Place::Anywhere => Placement::Unbound,
    };
    let name = options.name.clone();
    let (started, is_started) = flume::bounded(1);
    let region_bytes = crate::base::units::to_usize(options.region_bytes);
    let join = builder(placement, &name, region_bytes, FIRST_PERIOD)
        .ring_depth(RING_ENTRIES)
        .spawn(move || async move {
            let prompt = enter(&options);
            if let Some(directory) = &options.data_directory
                && let Err(error) = prime(directory).await
            {
                leave(&options);
                return Err(error);
            }
            // The starter waits; nobody else could have dropped the receiver.
            let _ = started.send(());
            let output = run_in(prompt, main).await;
            leave(&options);
            Ok(output)
        });
    let handle = match join {
        Ok(join) => ExecutorHandle { name, join },
        Err(source) => return Err(ExecutorError::Start { name, source }),
    };
    if is_started.recv().is_ok() {
        return Ok(handle);
    }
    // The sender is gone without a word: the thread has ended with the reason.
    let name = handle.name.clone();
    match handle.join() {
        Err(error) => Err(error),
        Ok(_) => Err(ExecutorError::Panicked {
            name,
            message: "ended before it started".into(),
        }),
    }
}

/// What all executors have in common. `first_period` is that of the queue in which they
/// begin.
fn builder(
    placement: Placement,
    name: &str,
    region_bytes: usize,
    first_period: Duration,
) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(placement)
        .name(name)
        .io_memory(region_bytes)
        .preempt_timer(first_period)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(OFF_SHARD_THREADS))
}

/// Runs the main future of an executor in a queue. In the turn of the loop in which it is
/// spawned it would run for `FIRST_PERIOD`.
async fn run_in<T, F>(queue: TaskQueueHandle, main: impl FnOnce() -> F + 'static) -> T
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let main = async move {
        Timer::new(FIRST_TURN).await;
        main().await
    };
    let main = start(main, Some(queue)).await;
    main.expect("invariant: nobody cancels it, and a panic of it does not come back here")
}

/// Runs one future to its end on an executor of its own, unpinned: for tests,
/// benches and commands that do not serve.
///
/// - Panics: when the executor cannot start, or with the panic of `main`.
pub fn run_alone<T, F>(main: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    const REGION_BYTES: usize = 4 * 1024 * 1024 + 64 * 1024;
    let outcome = builder(Placement::Unbound, "alone", REGION_BYTES, FIRST_PERIOD)
        .spawn(move || async move {
            spawn_keep_alive(None);
            prime(&std::env::temp_dir())
                .await
                .map(drop)
                .unwrap_or_default();
            let latency = Latency::Matters(ALONE_LATENCY);
            let queue = glommio::executor();
            let queue = queue.create_task_queue(Shares::default(), latency, "alone");
            run_in(queue, main).await
        })
        .expect("invariant: a process that may use io_uring can start an executor")
        .join();
    match outcome {
        Ok(output) => output,
        Err(GlommioError::BuilderError(glommio::BuilderErrorKind::ThreadPanic(payload))) => {
            resume_unwind(payload)
        }
        Err(error) => resume_unwind(Box::new(format!("run_alone: {error}"))),
    }
}

/// The queues of an executor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Queue {
    /// Small requests and everything on their way.
    Prompt,
    /// Bodies and other long work.
    Bulk,
}

/// What tasks must know of the executor they run on.
#[derive(Debug)]
pub(super) struct ExecutorContext {
    pub(super) name: String,
    pub(super) is_panic_fatal: bool,
    prompt: TaskQueueHandle,
    bulk: TaskQueueHandle,
    has_ended: Cell<bool>,
}

impl ExecutorContext {
    /// The handle of one of the two queues.
    pub(super) fn queue(&self, queue: Queue) -> TaskQueueHandle {
        match queue {
            Queue::Prompt => self.prompt,
            Queue::Bulk => self.bulk,
        }
    }
}

impl Drop for ExecutorContext {
    /// Runs when the thread ends. A thread whose main future has not returned was
    /// torn down by a panic inside the loop, and half a node is worse than none.
    fn drop(&mut self) {
        if !self.has_ended.get() {
            end_process(&format!("executor {}: its loop panicked", self.name));
        }
    }
}

thread_local! {
    static CONTEXT: OnceCell<ExecutorContext> = const { OnceCell::new() };
}

/// Reads the context of this thread's executor; `None` outside of one.
pub(super) fn context<T>(read: impl FnOnce(&ExecutorContext) -> T) -> Option<T> {
    CONTEXT.with(|context| context.get().map(read))
}

fn enter(options: &ExecutorOptions) -> TaskQueueHandle {
    let executor = glommio::executor();
    let prompt = executor.create_task_queue(
        Shares::Static(PROMPT_SHARES),
        Latency::Matters(PROMPT_LATENCY),
        "prompt",
    );
    let bulk = executor.create_task_queue(
        Shares::Static(BULK_SHARES),
        Latency::Matters(BULK_LATENCY),
        "bulk",
    );
    let entered = ExecutorContext {
        name: options.name.clone(),
        is_panic_fatal: options.is_panic_fatal,
        prompt,
        bulk,
        has_ended: Cell::new(false),
    };
    CONTEXT.with(|context| {
        assert!(context.set(entered).is_ok(), "one executor per thread");
    });
    spawn_keep_alive(options.beat.as_ref());
    prompt
}

fn leave(options: &ExecutorOptions) {
    context(|context| context.has_ended.set(true));
    if let Some(beat) = &options.beat {
        beat.retire();
    }
}

/// Bounds the stall of a loop that parked with runnable tasks: the loop asks
/// whether it should be preempted before it has run anything, and when the answer
/// is yes it goes to sleep on a full queue. A timer is what wakes it. The answer is
/// yes when the timer of the preemption was up already, and also when another thread
/// has rung for a letter that was taken in before it rang.
///
/// One timer is not enough: the loop may go to sleep again right after that timer
/// has fired, with the timer's own task among the runnable ones and no other timer
/// set. So each of the two tasks has some in reserve; and when all were lost, the
/// watchdog's thread wakes the loop, as often as it takes.
fn spawn_keep_alive(beat: Option<&Beat>) {
    if let Some(beat) = beat {
        glommio::spawn_local(beat.clone().answer_kicks()).detach();
    }
    glommio::spawn_local(keep_busy_alive(beat.cloned())).detach();
    glommio::spawn_local(keep_idle_alive(beat.cloned())).detach();
}

/// Waits for `period`, and is woken after each of the next few as well when nobody
/// came by to look.
async fn sleep_with_chances(period: Duration) {
    let mut later = (2_u32..).map(|periods| Timer::new(period * periods));
    let mut chances: [Option<Timer>; CHANCES - 1] = std::array::from_fn(|_| later.next());
    let mut first = Timer::new(period);
    poll_fn(|context| {
        for chance in chances.iter_mut().flatten() {
            // What it says matters to nobody; it has to be armed.
            let _ = Pin::new(chance).poll(context);
        }
        Pin::new(&mut first).poll(context)
    })
    .await;
}

/// Ticks often while the executor works. A wake costs some ten microseconds of
/// CPU, so an idle executor, which has little to stall, is woken more and more
/// rarely.
async fn keep_busy_alive(beat: Option<Beat>) {
    let mut period = KEEP_ALIVE_PERIOD;
    loop {
        beat.iter().for_each(Beat::tick);
        sleep_with_chances(period).await;
        let ran = glommio::executor().executor_stats().executor_runtime();
        period = if ran * IDLE_PARTS_MIN > period {
            KEEP_ALIVE_PERIOD
        } else {
            (period * 2).min(KEEP_ALIVE_IDLE_PERIOD)
        };
    }
}

async fn keep_idle_alive(beat: Option<Beat>) {
    loop {
        beat.iter().for_each(Beat::tick);
        sleep_with_chances(KEEP_ALIVE_IDLE_PERIOD).await;
    }
}

#[cfg(test)]
#[path = "executor_test.rs"]
mod tests;
