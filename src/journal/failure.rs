//! The end: what the journal does when it can no longer keep a promise.

use std::io;

/// Exit code of a process whose journal failed: `EX_IOERR` of `sysexits.h`.
const EXIT_CODE_ID: i32 = 74;

/// A write or a sync that failed. After it the contents of the page cache and
/// of the disk may differ, so it is never retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub operation: &'static str,
    /// What the operating system said, when it said something.
    pub kind: Option<io::ErrorKind>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "journal failed: {}", self.operation)?;
        self.kind.map_or(Ok(()), |kind| write!(f, ": {kind}"))
    }
}

/// Says why in one last line and ends the process.
#[expect(
    clippy::exit,
    reason = "a journal that cannot sync must not answer anyone any more"
)]
#[expect(
    clippy::print_stderr,
    reason = "the last line must not depend on the log being set up"
)]
pub(super) fn end_process(failure: &Failure) {
    tracing::error!(%failure, "ending the process");
    eprintln!("windlass: {failure}; ending the process, restart recovers what was acknowledged");
    std::process::exit(EXIT_CODE_ID);
}
