//! The log: structured lines, text for people at a terminal, JSON otherwise.
//!
//! Lines leave through a thread of their own: whoever reads the log may be slow,
//! a shard may not. When the thread is behind by `WAITING_LINES_MAX`, lines are
//! dropped and counted.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

use super::metrics::Metrics;

/// Lines that may wait for the writing thread: at 300 bytes each, about 1 MiB.
const WAITING_LINES_MAX: usize = 4096;

/// How long lines gather before they are written together.
const GATHER_PERIOD: Duration = Duration::from_millis(5);
/// Bytes written with one call.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Crates below us whose news is for developers; the operator's filter comes
/// after it and wins. glommio logs only what we already answer for: that memory
/// was not registered, that our probe of the device failed as it should; openraft
/// warns of every heartbeat to a node that is away, ten times a second.
const QUIET_CRATES: &str = "fjall=warn,lsm_tree=warn,glommio=off,openraft=error";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// A level (`info`) or a filter (`info,windlass::raft=debug`).
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl LogOptions {
    /// Checks the filter without starting anything.
    pub fn check(&self) -> Result<(), LogError> {
        self.parsed_filter().map(drop)
    }

    fn parsed_filter(&self) -> Result<EnvFilter, LogError> {
        let filter = self.filter.trim();
        let error = |reason: String| LogError::Filter {
            filter: filter.to_owned(),
            reason,
        };
        if filter.is_empty() {
            return Err(error("it is empty".to_owned()));
        }
        // A bare word is a level to people but a target to the filter.
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        let is_bare = |part: &&str| !part.contains('=') && !part.contains('[');
        if let Some(word) = filter
            .split(',')
            .filter(is_bare)
            .find(|part| !is_level(part.trim()))
        {
            let levels = "use off, error, warn, info, debug or trace";
            return Err(error(format!("`{}` is no level; {levels}", word.trim())));
        }
        EnvFilter::builder()
            .parse(format!("{QUIET_CRATES},{filter}"))
            .map_err(|parse_error| error(parse_error.to_string()))
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log filter `{filter}` is not valid: {reason}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else has set up a log in this process.
    #[error("a log is already set up in this process")]
    Taken,
    /// The writing thread does not start.
    #[error("start the log's thread")]
    Thread(#[source] io::Error),
}

/// The running log. Owned by `main`; dropping it writes what still waits, as
/// [`flush_log`] does.
#[derive(Debug)]
pub struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        flush_log(FLUSH_WAIT);
    }
}

/// How long the end of the process waits for the last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// The way to the writing thread, for whoever ends the process.
static LINES: OnceLock<Sender<Message>> = OnceLock::new();

/// Sets the log up for the whole process; lines go to standard error. The thread
/// that writes them ends with the process.
///
/// - Errors: the filter is not valid, or a log is set up already.
pub fn start_log(options: &LogOptions, metrics: &Arc<Metrics>) -> Result<Log, LogError> {
    let filter = options.parsed_filter()?;
    let (sender, receiver) = bounded(WAITING_LINES_MAX);
    let is_terminal = io::stderr().is_terminal();
    let outlet = Outlet {
        lines: sender.clone(),
        metrics: Arc::clone(metrics),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(outlet);
    let json = |builder: SubscriberBuilder<_, _, _, _>| {
        let builder = builder.json().flatten_event(true).with_span_list(false);
        builder.try_init()
    };
    let taken = match options.format {
        LogFormat::Auto if !is_terminal => json(builder),
        LogFormat::Json => json(builder),
        LogFormat::Auto | LogFormat::Text => builder.with_ansi(is_terminal).try_init(),
    };
    taken.map_err(|_| LogError::Taken)?;
    LINES.set(sender).map_err(|_| LogError::Taken)?;
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&receiver, &mut io::stderr()))
        .map_err(LogError::Thread)?;
    Ok(Log(()))
}

/// Waits until every line queued so far is written, at most `limit`: the last
/// thing to do before ending the process in another way than by returning from
/// `main`. Returns at once when no log is set up.
pub fn flush_log(limit: Duration) {
    let Some(lines) = LINES.get() else { return };
    let (told, done) = bounded(1);
    // Whoever reads the log may be stuck: neither step may wait for ever.
    if lines.send_timeout(Message::Flush(told), limit).is_ok() {
        let _in_time = done.recv_timeout(limit);
    }
}

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
}

/// Writes what waits with one call, then lets lines gather for `GATHER_PERIOD`:
/// a shard pays for a wake of this thread only when the log was silent.
fn write_lines(lines: &Receiver<Message>, outlet: &mut impl Write) {
    let mut gathered = Vec::new();
    while let Ok(first) = lines.recv() {
        let is_flush = matches!(first, Message::Flush(_));
        let mut flushes = Vec::new();
        for message in std::iter::once(first).chain(lines.try_iter()) {
            match message {
                Message::Line(line) => gathered.extend_from_slice(&line),
                Message::Flush(told) => flushes.push(told),
            }
            if gathered.len() >= GATHERED_BYTES_MAX {
                break;
            }
        }
        // Nobody is left to tell when standard error is gone.
        drop(outlet.write_all(&gathered));
        gathered.clear();
        for told in flushes {
            let _gone = told.send(());
        }
        if !is_flush {
            thread::park_timeout(GATHER_PERIOD);
        }
    }
}

/// Gives each event a line of its own.
struct Outlet {
    lines: Sender<Message>,
    metrics: Arc<Metrics>,
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            outlet: self,
            bytes: Vec::new(),
        }
    }
}

/// Collects one event; queued when dropped.
struct Line<'a> {
    outlet: &'a Outlet,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.bytes));
        if let Err(TrySendError::Full(_)) = self.outlet.lines.try_send(line) {
            self.outlet.metrics.log_lines_dropped.count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(filter: &str) -> LogOptions {
        LogOptions {
            filter: filter.to_owned(),
            format: LogFormat::Json,
        }
    }

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for good in [
            "info",
            "warn,windlass::raft=debug",
            " off ",
            "windlass=trace",
        ] {
            assert!(options(good).check().is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,", "windlass=loud", "info,raft"] {
            assert!(options(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_beyond_the_queue_are_dropped_and_counted() {
        let (sender, receiver) = bounded(1);
        let outlet = Outlet {
            lines: sender.clone(),
            metrics: Arc::new(Metrics::new()),
        };
        for text in ["first\n", "second\n"] {
            outlet.make_writer().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(outlet.metrics.log_lines_dropped.value(), 1);
        drop((sender, outlet.lines));
        let mut written = Vec::new();
        write_lines(&receiver, &mut written);
        assert_eq!(written, b"first\n");
    }

    #[test]
    fn a_flush_is_answered_after_the_lines_before_it() {
        struct Outlet<'a>(&'a Receiver<()>);

        impl Write for Outlet<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                assert!(self.0.is_empty(), "told before the line was written");
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (sender, receiver) = bounded(2);
        let (told, done) = bounded(1);
        sender.send(Message::Line(b"last line".to_vec())).unwrap();
        sender.send(Message::Flush(told)).unwrap();
        drop(sender);
        write_lines(&receiver, &mut Outlet(&done));
        assert_eq!(done.try_recv(), Ok(()));
    }
}
