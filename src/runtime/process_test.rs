//! Tests of how the process ends: each runs itself once more as a child and looks at
//! the child's exit status.

use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::runtime::{
    EXIT_FAULT_STATUS, ExecutorOptions, Place, Shutdown, Signals, Watchdog, sleep, spawn,
    spawn_executor,
};

/// Set in the child.
const CHILD_VARIABLE: &str = "RUNTIME_TEST_CHILD";

/// What the child does when it should have ended long ago: the wrong status.
const CHILD_WAIT: Duration = Duration::from_secs(30);

/// Runs the test `name` of this module in a child. `None` inside of that child.
fn child(name: &str) -> Option<Output> {
    if std::env::var_os(CHILD_VARIABLE).is_some() {
        return None;
    }
    let name = format!("runtime::process_tests::{name}");
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([name.as_str(), "--exact", "--nocapture"])
        .env(CHILD_VARIABLE, "1")
        .output();
    Some(output.unwrap())
}

fn options(name: &str, watchdog: &Watchdog) -> ExecutorOptions {
    ExecutorOptions {
        name: name.to_owned(),
        place: Place::Anywhere,
        region_bytes: 64 * 1024,
        data_directory: None,
        is_panic_fatal: true,
        beat: Some(watchdog.beat(name)),
    }
}

#[test]
fn an_executor_that_stands_still_ends_the_process() {
    if let Some(output) = child("an_executor_that_stands_still_ends_the_process") {
        assert_eq!(output.status.code(), Some(EXIT_FAULT_STATUS), "{output:?}");
        return;
    }
    let watchdog = Watchdog::start(Duration::from_millis(300)).unwrap();
    let options = options("stuck", &watchdog);
    let (_hold, never) = mpsc::channel::<()>();
    let stuck = spawn_executor(options, || async move {
        sleep(Duration::from_millis(200)).await;
        assert!(never.recv_timeout(CHILD_WAIT).is_err());
    });
    stuck.unwrap().join().unwrap();
}

#[test]
fn executors_that_move_and_then_end_are_left_alone() {
    // A watchdog that bites ends the process, and with it every test there.
    if let Some(output) = child("executors_that_move_and_then_end_are_left_alone") {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    // Long enough that an executor has its turn on a busy machine.
    let stall_max = Duration::from_secs(2);
    let watchdog = Watchdog::start(stall_max).unwrap();
    let options = options("moving", &watchdog);
    let moving = spawn_executor(options, move || sleep(stall_max + stall_max / 4));
    moving.unwrap().join().unwrap();
    thread::park_timeout(stall_max + stall_max / 4);
    watchdog.stop();
}

#[test]
fn a_panic_on_an_executor_whose_panics_are_fatal_ends_the_process() {
    if let Some(output) = child("a_panic_on_an_executor_whose_panics_are_fatal_ends_the_process") {
        assert_eq!(output.status.code(), Some(EXIT_FAULT_STATUS), "{output:?}");
        return;
    }
    let watchdog = Watchdog::start(CHILD_WAIT).unwrap();
    let handle = spawn_executor(options("core", &watchdog), || async {
        spawn(async { panic!("on purpose") }).detach();
        sleep(CHILD_WAIT).await;
    });
    handle.unwrap().join().unwrap();
}

#[test]
fn the_first_signal_asks_and_the_second_ends_the_process() {
    if let Some(output) = child("the_first_signal_asks_and_the_second_ends_the_process") {
        let expected = 128 + Signal::TERM.as_raw();
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
        return;
    }
    let shutdown = Shutdown::new();
    Signals::catch(shutdown.clone(), || {}).unwrap();
    kill_process(getpid(), Signal::INT).unwrap();
    futures_lite::future::block_on(shutdown.wait());
    kill_process(getpid(), Signal::TERM).unwrap();
    thread::park_timeout(CHILD_WAIT);
}
