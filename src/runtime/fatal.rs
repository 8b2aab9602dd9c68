//! The one way in which a fault ends the process.

use std::io::{self, Write as _};
use std::time::Duration;

use super::preflight::EXIT_CONFIGURATION_STATUS;
use crate::telemetry::flush_log;

/// Exit status after a fault of our own: a panic on the raft core, an executor
/// that stands still. Source: `EX_SOFTWARE` of `sysexits.h`.
pub const EXIT_FAULT_STATUS: i32 = 70;

/// How long the last line may take to be written.
const LAST_LINE_WAIT: Duration = Duration::from_secs(1);

/// Logs one last line, or prints it where there is no log, and ends the process without
/// unwinding: restart and recovery is the tested path, tidying up after a fault is not.
///
/// Lines are written by a thread of the log, so that a fault is not held up when
/// whoever reads them is stuck.
pub fn end_process(last_line: &str) -> ! {
    end_with(EXIT_FAULT_STATUS, last_line)
}

/// As [`end_process`], where an operator has to change something before this process can
/// go on: whoever starts it again finds it where it was.
pub fn end_unfit(last_line: &str) -> ! {
    end_with(EXIT_CONFIGURATION_STATUS, last_line)
}

fn end_with(status: i32, last_line: &str) -> ! {
    tracing::error!("{last_line}");
    if !tracing::dispatcher::has_been_set() {
        // Nobody is left to tell when this cannot be written either.
        drop(writeln!(io::stderr(), "{last_line}"));
    }
    flush_log(LAST_LINE_WAIT);
    signal_hook::low_level::exit(status)
}
