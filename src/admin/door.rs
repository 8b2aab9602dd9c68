//! The door itself: one page per request.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::health::{Health, Phase};
use super::page::{Answer, Page};
use crate::exchange::{Closed, Exchange};
use crate::http::Status;
use crate::runtime::timeout;
use crate::telemetry::{Metrics, Route};

/// A node that cannot commit within this time is not ready. Supervisors give a
/// probe a second or a few, and ask again.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers operators. One per shard that listens for them; connections share it.
///
/// `P` tries what readiness means, a commit to the journal, and says what
/// failed. It is dropped when it takes longer than [`PROBE_TIMEOUT`].
#[derive(Debug)]
pub struct Door<P> {
    metrics: Arc<Metrics>,
    health: Health,
    probe: Rc<P>,
}

impl<P> Clone for Door<P> {
    fn clone(&self) -> Self {
        Self {
            metrics: Arc::clone(&self.metrics),
            health: self.health.clone(),
            probe: Rc::clone(&self.probe),
        }
    }
}

impl<P, E> Door<P>
where
    P: AsyncFn() -> Result<(), E>,
    E: Error,
{
    /// A door that tells `metrics` and `health`, and asks `probe` when it is
    /// asked for readiness.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, health: Health, probe: P) -> Self {
        Self {
            metrics,
            health,
            probe: Rc::new(probe),
        }
    }

    /// Answers one request.
    ///
    /// - Errors: the client is gone.
    pub async fn handle(&self, exchange: &mut Exchange) -> Result<(), Closed> {
        exchange.set_route(Route::Admin);
        let head = exchange.head();
        let answer = match Page::parse(head.method(), head.path()) {
            Ok(page) => self.answer(page).await,
            Err(answer) => answer,
        };
        exchange.respond(answer.head, &answer.body).await
    }

    async fn answer(&self, page: Page) -> Answer {
        match (page, self.health.phase()) {
            (Page::Metrics, _) => Answer::metrics(self.metrics.render()),
            (Page::Live, _) | (Page::Started, Phase::Serving | Phase::Stopping) => Answer::yes(),
            (Page::Started | Page::Ready, Phase::Starting) => unready("the node is starting"),
            (Page::Ready, Phase::Stopping) => unready("the node is stopping"),
            (Page::Ready, Phase::Serving) => self.probe().await,
        }
    }

    async fn probe(&self) -> Answer {
        match timeout(PROBE_TIMEOUT, (self.probe)()).await {
            Ok(Ok(())) => Answer::yes(),
            Ok(Err(error)) => unready(&format!("the journal does not commit: {error}")),
            Err(_) => unready("the journal does not commit in time"),
        }
    }
}

fn unready(reason: &str) -> Answer {
    Answer::no(Status::SERVICE_UNAVAILABLE, "unready", reason)
}

#[cfg(test)]
#[path = "door_test.rs"]
mod tests;
