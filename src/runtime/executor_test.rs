//! Tests of executors: their start, their queues, their panics.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use crate::runtime::{Panicked, ShardPlan, Topology, Watchdog, sleep, spawn, spawn_bulk, timeout};

use super::*;

fn options(name: &str, place: Place) -> ExecutorOptions {
    ExecutorOptions {
        name: name.to_owned(),
        place,
        region_bytes: 256 * 1024,
        data_directory: Some(std::env::temp_dir()),
        is_panic_fatal: false,
        beat: None,
    }
}

#[test]
fn an_executor_runs_its_main_and_returns_its_output() {
    let handle = spawn_executor(options("one", Place::Anywhere), || async {
        let bulk = spawn_bulk(async { 3 });
        let inherited = spawn(async { 4 });
        bulk.await.unwrap() + inherited.await.unwrap()
    });
    assert_eq!(handle.unwrap().join().unwrap(), 7);
}

#[test]
fn shards_run_where_the_plan_says() {
    let topology = Topology::detect().unwrap();
    let plan = ShardPlan::of(&topology, crate::runtime::Wishes::default()).unwrap();
    for place in plan.shards {
        let main = || async { rustix::thread::sched_getcpu() };
        let handle = spawn_executor(options("placed", place), main).unwrap();
        let cpu = handle.join().unwrap();
        if let Place::Cpu(planned) = place {
            assert_eq!(cpu, planned);
        }
    }
}

#[test]
fn an_executor_on_a_cpu_that_does_not_exist_is_refused_at_start() {
    let refused = spawn_executor(options("nowhere", Place::Cpu(1023)), || async {});
    assert!(matches!(refused, Err(ExecutorError::Start { .. })));
}

#[test]
fn an_executor_without_its_data_directory_is_refused_at_start() {
    let mut options = options("lost", Place::Anywhere);
    options.data_directory = Some(PathBuf::from("/nonexistent/windlass"));
    let refused = spawn_executor(options, || async {});
    assert!(matches!(refused, Err(ExecutorError::Probe { .. })));
}

#[test]
fn a_panic_in_a_task_reaches_its_awaiter_and_the_executor_goes_on() {
    run_alone(|| async {
        let task = spawn(async { panic!("on purpose") });
        let outcome: Result<(), Panicked> = task.await;
        assert_eq!(outcome.unwrap_err().message.as_ref(), "on purpose");
        let detached = spawn(async { panic!("again") }).detach();
        assert!(detached.await.is_err());
        assert_eq!(spawn(async { 1 }).await, Ok(1));
    });
}

#[test]
fn a_dropped_task_stops_and_a_detached_one_goes_on() {
    run_alone(|| async {
        let (sender, receiver) = flume::unbounded();
        let cancelled = sender.clone();
        drop(spawn(async move {
            sleep(Duration::from_millis(1)).await;
            let _ = cancelled.send("cancelled");
        }));
        drop(
            spawn(async move {
                sleep(Duration::from_millis(5)).await;
                let _ = sender.send("detached");
            })
            .detach(),
        );
        assert_eq!(receiver.recv_async().await, Ok("detached"));
        assert!(receiver.recv_async().await.is_err());
    });
}

#[test]
fn a_wake_from_another_thread_is_never_lost_for_long() {
    let watchdog = Watchdog::start(Duration::from_secs(60)).unwrap();
    let mut options = options("stall", Place::Anywhere);
    options.beat = Some(watchdog.beat("stall"));
    let handle = spawn_executor(options, || async {
        let (request, requests) = flume::unbounded::<flume::Sender<()>>();
        let echo = std::thread::spawn(move || {
            for reply in requests {
                let _ = reply.send(());
            }
        });
        for _ in 0..2000 {
            let (reply, answer) = flume::bounded(1);
            request.send(reply).unwrap();
            // A lost wake is lost for good; a busy machine takes its time.
            let answered = timeout(Duration::from_secs(20), answer.recv_async()).await;
            assert_eq!(answered, Ok(Ok(())));
        }
        drop(request);
        echo.join().unwrap();
    });
    handle.unwrap().join().unwrap();
}

/// Whether an executor begins whose time for its first queue is so long.
fn begins(first_period: Duration) -> bool {
    let (told, begun) = flume::bounded(1);
    let executor = builder(Placement::Unbound, "first", 64 * 1024, first_period);
    let executor = executor.spawn(move || async move {
        let _ = told.send(());
    });
    // One that sleeps for ever keeps its thread; the process ends without it.
    drop(executor.unwrap());
    begun.recv_timeout(Duration::from_secs(1)).is_ok()
}

#[test]
fn a_loop_whose_time_is_up_before_its_first_task_begins_late_or_never() {
    assert!((0..20).all(|_| begins(FIRST_PERIOD)));
    // As of a thread that had to wait for its CPU.
    let is_up = Duration::from_nanos(1);
    assert!(!begins(is_up), "FIRST_PERIOD is needed no more");
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_keep_alive_that_nobody_answers_wakes_the_loop_again() {
    run_alone(|| async {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut sleeping = pin!(sleep_with_chances(Duration::from_millis(1)));
        let polled = sleeping.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let waiting = async {
            while woken.0.load(Ordering::Relaxed) < CHANCES {
                sleep(Duration::from_millis(1)).await;
            }
        };
        assert_eq!(timeout(Duration::from_secs(20), waiting).await, Ok(()));
    });
}
