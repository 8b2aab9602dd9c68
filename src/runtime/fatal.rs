//! The one way in which a fault ends the process.

use std::thread;
use std::time::Duration;

/// Exit status after a fault of our own: a panic on the raft core, an executor
/// that stands still. Source: `EX_SOFTWARE` of `sysexits.h`.
pub const EXIT_FAULT_STATUS: i32 = 70;

/// How long the last line may take to be written.
const LAST_LINE_WAIT: Duration = Duration::from_secs(1);

/// Writes one last line and ends the process without unwinding: restart and
/// recovery is the tested path, tidying up after a fault is not.
///
/// The line is written by a thread of its own, because the log may be what
/// everybody is stuck on.
pub fn end_process(last_line: &str) -> ! {
    let line = last_line.to_owned();
    let writer = thread::spawn(move || tracing::error!("{line}"));
    let mut waited = Duration::ZERO;
    let step = LAST_LINE_WAIT / 100;
    while !writer.is_finished() && waited < LAST_LINE_WAIT {
        thread::park_timeout(step);
        waited += step;
    }
    signal_hook::low_level::exit(EXIT_FAULT_STATUS)
}
