//! The life of a node, from its configuration to its exit code.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::error::{EXIT_CONFIGURATION_CODES, ServerError};
use super::form::form;
use super::node::Node;
use crate::config::Config;
use crate::runtime::{Shutdown, Signals};
use crate::telemetry::{AuditLog, Metrics, start_log};

/// How long the end of a node waits for the last lines of its audit file.
const AUDIT_FLUSH_WAIT: Duration = Duration::from_secs(1);

/// Runs a node until it is told to stop.
///
/// - Shape: 0 after an orderly stop, 78 when the operator has to change something
///   before a start can succeed, 1 after any other failure.
#[must_use]
pub fn run(config: &Config) -> ExitCode {
    let metrics = Arc::new(Metrics::new());
    let log = start_log(&config.log.options(), &metrics);
    let ended = match &log {
        Ok(_) => serve(config, &metrics),
        Err(error) => {
            complain(error);
            return ExitCode::from(EXIT_CONFIGURATION_CODES);
        }
    };
    match ended {
        Ok(()) => {
            tracing::info!("the node has stopped");
            ExitCode::SUCCESS
        }
        Err(ServerError::Stopped) => {
            tracing::info!("the node has stopped before it found its cluster");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Ends a command that prepares a data directory: says what came of it.
pub(super) fn report(outcome: Result<String, ServerError>) -> ExitCode {
    match outcome {
        Ok(done) => {
            // Without standard output the exit code says it alone.
            drop(writeln!(io::stdout(), "{done}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(io::stderr(), "windlass: {}", with_causes(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve(config: &Config, metrics: &Arc<Metrics>) -> Result<(), ServerError> {
    let shutdown = Shutdown::new();
    // Calls that come while one is answered are one call.
    let (hangup, hangups) = flume::bounded(1);
    let audit = AuditLog::start(&config.audit.options(), metrics)?;
    let reopening = audit.clone();
    Signals::catch(shutdown.clone(), move || {
        let _ = hangup.try_send(());
        reopening.reopen();
    })?;
    form(config, &shutdown)?;
    let node = Node::start(config, metrics, (&shutdown, hangups, &audit))?;
    let stopped = node.wait_and_stop();
    audit.flush(AUDIT_FLUSH_WAIT);
    stopped
}

/// An error and what caused it, on one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// Says why there is no log, where there is no log to say it in.
fn complain(error: &dyn Error) {
    let line = format!(
        "windlass: the log cannot be set up: {}\n",
        with_causes(error)
    );
    // Without standard error nobody can be told.
    drop(io::stderr().write_all(line.as_bytes()));
}
