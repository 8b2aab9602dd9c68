//! The audit file: one JSON object a line, written by a thread of its own.
//!
//! A line is never lost without a word. While the file cannot be written, lines wait, up
//! to `WAITING_LINES_MAX`; further ones go to the common log, and are counted. What
//! still waits when the process is killed is gone: the file is not what makes a change
//! last, the journal is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::exposition::Page;
use super::metrics::Metrics;
use super::value::Counter;

/// Lines that may wait for the thread: at 400 bytes each, 3 MiB.
const WAITING_LINES_MAX: usize = 8192;
/// Bytes written with one call.
const GATHERED_BYTES_MAX: usize = 256 * 1024;
/// How often a file that cannot be written is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// Permissions of a file that is made: whoever ships logs is in the group.
const FILE_MODE_BITS: u32 = 0o640;

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditLevel {
    /// Changes, and attempts at them by those who may make them.
    Changes,
    /// And requests that were not let in.
    Refusals,
    /// And tokens that were made.
    All,
}

/// What operators decide.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// What is written down.
    pub level: AuditLevel,
    /// Where; in the common log when absent.
    pub file: Option<PathBuf>,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            level: AuditLevel::Changes,
            file: None,
        }
    }
}

/// The audit file cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the audit file {} cannot be written", path.display())]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// What the audit file counts.
#[derive(Debug, Default)]
pub struct AuditMetrics {
    /// Lines that were written to it.
    pub lines: Counter,
    /// Lines that found too many waiting, and went to the common log.
    pub diverted: Counter,
    /// Attempts to write or to open it that failed.
    pub failures: Counter,
}

impl AuditMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.counter(
            "windlass_audit_lines_total",
            "Lines written to the audit file.",
            &self.lines,
        );
        page.counter(
            "windlass_audit_diverted_total",
            "Lines for the audit file that stand in the common log, because it was behind.",
            &self.diverted,
        );
        page.counter(
            "windlass_audit_failures_total",
            "Attempts to write or to open the audit file that failed.",
            &self.failures,
        );
    }
}

/// Where audit lines go. Cheap to clone; crosses threads. The thread ends, having
/// written what it can, when the last of these is dropped.
#[derive(Debug, Clone)]
pub struct AuditLog {
    level: AuditLevel,
    outlet: Option<Outlet>,
}

#[derive(Debug, Clone)]
struct Outlet {
    messages: Sender<Message>,
    is_reopened: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// There is something else to do.
    Wake,
    /// Answered when everything before it is written, or cannot be.
    Flush(Sender<()>),
}

impl AuditLog {
    /// Opens the file, if there is to be one, and starts its thread. Blocks.
    pub fn start(options: &AuditOptions, metrics: &Arc<Metrics>) -> Result<Self, AuditError> {
        let level = options.level;
        let Some(path) = &options.file else {
            let outlet = None;
            return Ok(Self { level, outlet });
        };
        let failed = |source| AuditError {
            path: path.clone(),
            source,
        };
        let file = AuditFile::open(path).map_err(failed)?;
        let (messages, queue) = bounded(WAITING_LINES_MAX);
        let outlet = Outlet {
            messages,
            is_reopened: Arc::default(),
            metrics: Arc::clone(metrics),
        };
        let (reopened, metrics) = (Arc::clone(&outlet.is_reopened), Arc::clone(metrics));
        let work = move || Writer::new(file, reopened, metrics).run(&queue);
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(work);
        thread.map_err(failed)?;
        let outlet = Some(outlet);
        Ok(Self { level, outlet })
    }

    /// Whether something of this kind is written down.
    #[must_use]
    pub fn wants(&self, level: AuditLevel) -> bool {
        level <= self.level
    }

    /// Whether lines go to a file of their own.
    #[must_use]
    pub const fn has_file(&self) -> bool {
        self.outlet.is_some()
    }

    /// Hands a line, without its end, to the thread. Without a file it is dropped.
    pub fn write(&self, line: String) {
        let Some(outlet) = &self.outlet else { return };
        let mut bytes = line.into_bytes();
        bytes.push(b'\n');
        let Err(unsent) = outlet.messages.try_send(Message::Line(bytes)) else {
            return;
        };
        outlet.metrics.audit.diverted.count();
        if let Message::Line(bytes) = unsent.into_inner() {
            let line = String::from_utf8_lossy(&bytes);
            tracing::warn!(target: "windlass::audit", line = line.trim_end(), "the audit file is behind: this line stands here only");
        }
    }

    /// Has the file opened by its name again, after whoever rotates logs renamed it. Does
    /// not wait.
    pub fn reopen(&self) {
        if let Some(outlet) = &self.outlet {
            outlet.is_reopened.store(true, Ordering::SeqCst);
            // A thread that has something to do looks by itself.
            drop(outlet.messages.try_send(Message::Wake));
        }
    }

    /// Waits until every line so far is written, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let Some(outlet) = &self.outlet else { return };
        let (told, done) = bounded(1);
        let sent = outlet.messages.send_timeout(Message::Flush(told), limit);
        if sent.is_ok() {
            let _in_time = done.recv_timeout(limit);
        }
    }
}

/// The file, and lines that are not in it yet.
#[derive(Debug)]
struct AuditFile {
    path: PathBuf,
    file: File,
}

impl AuditFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE_BITS)
            .open(path)?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }
}

/// Lines that are whole, and how many of their bytes are written.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
    lines: u64,
}

impl Pending {
    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.lines += 1;
    }

    const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes on where the last attempt ended.
    fn write(&mut self, outlet: &mut impl Write) -> io::Result<()> {
        while let Some(rest) = self
            .bytes
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match outlet.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        *self = Self::default();
        Ok(())
    }

    /// Goes back to the start of a line of which a part is written, for another file.
    fn begin_line(&mut self) {
        let written = self.bytes.get(..self.written).unwrap_or_default();
        let start = written.iter().rposition(|byte| *byte == b'\n');
        self.written = start.map_or(0, |end| end + 1);
    }
}

/// What the thread has.
struct Writer {
    outlet: AuditFile,
    pending: Pending,
    flushes: Vec<Sender<()>>,
    is_reopened: Arc<AtomicBool>,
    is_failing: bool,
    metrics: Arc<Metrics>,
}

impl Writer {
    fn new(outlet: AuditFile, is_reopened: Arc<AtomicBool>, metrics: Arc<Metrics>) -> Self {
        Self {
            outlet,
            pending: Pending::default(),
            flushes: Vec::new(),
            is_reopened,
            is_failing: false,
            metrics,
        }
    }

    /// Writes lines as they come, until nobody can send one any more.
    fn run(mut self, queue: &Receiver<Message>) {
        loop {
            // What cannot be written waits here, and the others in the queue.
            if self.pending.is_empty() {
                match queue.recv() {
                    Ok(first) => self.gather(first, queue),
                    Err(_) => return,
                }
            } else {
                thread::park_timeout(RETRY_PERIOD);
            }
            self.step();
            for told in self.flushes.drain(..) {
                // Whoever waited may have given up.
                let _ = told.send(());
            }
        }
    }

    fn gather(&mut self, first: Message, queue: &Receiver<Message>) {
        for message in std::iter::once(first).chain(queue.try_iter()) {
            match message {
                Message::Line(line) => self.pending.push(&line),
                Message::Wake => {}
                Message::Flush(told) => self.flushes.push(told),
            }
            if self.pending.bytes.len() >= GATHERED_BYTES_MAX {
                return;
            }
        }
    }

    /// Opens the file again if that was asked for, and writes what waits.
    fn step(&mut self) {
        if self.is_reopened.swap(false, Ordering::SeqCst) {
            match AuditFile::open(&self.outlet.path) {
                Ok(outlet) => {
                    self.pending.begin_line();
                    self.outlet = outlet;
                }
                Err(error) => {
                    self.metrics.audit.failures.count();
                    tracing::error!(%error, path = %self.outlet.path.display(), "the audit file cannot be opened again: the old one is written on");
                }
            }
        }
        let lines = self.pending.lines;
        match self.pending.write(&mut self.outlet.file) {
            Ok(()) => {
                self.metrics.audit.lines.add(lines);
                if std::mem::take(&mut self.is_failing) {
                    tracing::warn!("the audit file is written again");
                }
            }
            Err(error) => {
                self.metrics.audit.failures.count();
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, path = %self.outlet.path.display(), "the audit file cannot be written: lines wait, and go to this log when too many do");
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "audit_test.rs"]
mod tests;
