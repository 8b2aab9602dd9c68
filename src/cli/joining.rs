//! What `windlass join` is doing: a line that moves, or lines where nobody watches.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::ProgressBar;

use crate::server::JoinStep;

/// How often the line moves.
const TICK_PERIOD: Duration = Duration::from_millis(100);

/// Shows steps on standard error.
pub(super) struct Steps {
    /// `None` where nobody watches.
    bar: Option<ProgressBar>,
}

impl Steps {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(TICK_PERIOD);
            bar
        });
        Self { bar }
    }

    /// Shows what begins.
    pub(super) fn show(&self, step: JoinStep<'_>) {
        match (&self.bar, line(step)) {
            (Some(bar), Some(line)) => bar.set_message(line),
            (Some(bar), None) => bar.finish_and_clear(),
            // Nobody may read it; the end is said in any case.
            (None, Some(line)) => drop(writeln!(io::stderr(), "{line}")),
            (None, None) => {}
        }
    }
}

/// `None` when there is nothing more to show.
fn line(step: JoinStep<'_>) -> Option<String> {
    Some(match step {
        JoinStep::Preparing => "preparing the data directory".to_owned(),
        JoinStep::Asking { address } => format!("asking {address} to let this node in"),
        JoinStep::Writing { node } => format!("admitted as node {node}, writing who it is"),
        JoinStep::Over => return None,
    })
}
