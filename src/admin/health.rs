//! Where the node stands between its start and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where the node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Recovery runs; clients are not served.
    Starting,
    /// Clients are served.
    Serving,
    /// The signal to stop has come; requests in flight are finished.
    Stopping,
}

/// The node's phase, as the server sets it and the door tells it. Clones share
/// one phase; any thread may hold one.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicU8>);

impl Health {
    /// A node that is starting.
    #[must_use]
    pub fn starting() -> Self {
        Self::default()
    }

    /// Says that recovery is over and clients are served.
    pub fn serve(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// Says that the signal to stop has come.
    pub fn stop(&self) {
        self.0.store(2, Ordering::Release);
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_phase() {
        let health = Health::starting();
        let told = health.clone();
        assert_eq!(told.phase(), Phase::Starting);
        health.serve();
        assert_eq!(told.phase(), Phase::Serving);
        health.stop();
        assert_eq!(told.phase(), Phase::Stopping);
    }
}
