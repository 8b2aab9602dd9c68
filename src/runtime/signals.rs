//! SIGTERM and SIGINT: the first one asks, the second one does not. SIGHUP: read again
//! what may change while the process runs.

use std::io;
use std::thread::Builder;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator;

use super::shutdown::Shutdown;

/// Exit status of a process ended by a signal is this plus the signal's number.
/// Source: POSIX shell.
const EXIT_SIGNAL_STATUS_BASES: i32 = 128;

/// Signals could not be caught.
#[derive(Debug, thiserror::Error)]
#[error("catch SIGTERM, SIGINT and SIGHUP")]
pub struct SignalsError {
    source: io::Error,
}

/// The thread that turns signals into a [`Shutdown`]. It lives as long as the process.
#[derive(Debug)]
pub struct Signals;

impl Signals {
    /// Starts to catch SIGTERM and SIGINT: the first triggers `shutdown`, a second
    /// one ends the process at once. Each SIGHUP calls `reload`, which must not wait.
    pub fn catch(
        shutdown: Shutdown,
        reload: impl Fn() + Send + 'static,
    ) -> Result<(), SignalsError> {
        let failed = |source| SignalsError { source };
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
        let wait = move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    tracing::info!("SIGHUP: reading again what may change");
                    reload();
                    continue;
                }
                if shutdown.is_requested() {
                    tracing::warn!("second signal: ending at once");
                    signal_hook::low_level::exit(EXIT_SIGNAL_STATUS_BASES + signal);
                }
                tracing::info!("signal {signal}: finishing requests in flight");
                shutdown.request();
            }
        };
        let thread = Builder::new().name("signals".to_owned()).spawn(wait);
        thread.map(drop).map_err(failed)
    }
}
