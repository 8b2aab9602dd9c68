//! The door itself: one page per request.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::asker::{check_head, check_peer};
use super::health::{Health, Phase};
use super::page::{Answer, Page, Wish};
use super::robots::Robots;
use super::robots_page::robot_page;
use super::status::status_page;
use crate::cluster::{OperationError, Operations};
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
    operations: Option<Operations>,
    robots: Option<Robots>,
    probe: Rc<P>,
}

impl<P> Clone for Door<P> {
    fn clone(&self) -> Self {
        Self {
            metrics: Arc::clone(&self.metrics),
            health: self.health.clone(),
            operations: self.operations.clone(),
            robots: self.robots.clone(),
            probe: Rc::clone(&self.probe),
        }
    }
}

impl<P, E> Door<P>
where
    P: AsyncFn() -> Result<(), E>,
    E: Error,
{
    /// A door that tells `metrics` and `health`, passes wishes on to `operations` if
    /// there are any, and asks `probe` when it is asked for readiness.
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        health: Health,
        operations: Option<Operations>,
        probe: P,
    ) -> Self {
        Self {
            metrics,
            health,
            operations,
            robots: None,
            probe: Rc::new(probe),
        }
    }

    /// The same, through which robots are made and revoked.
    #[must_use]
    pub fn with_robots(self, robots: Robots) -> Self {
        Self {
            robots: Some(robots),
            ..self
        }
    }

    /// Answers one request.
    ///
    /// - Errors: the client is gone.
    pub async fn handle(&self, exchange: &mut Exchange) -> Result<(), Closed> {
        exchange.set_route(Route::Admin);
        let head = exchange.head();
        let node = head.query().value("node");
        let page = Page::parse(head.method(), head.path(), node);
        let permitted = page.and_then(|page| permitted(page, exchange).map(|()| page));
        let answer = match permitted {
            Ok(Page::Robot(page)) => match &self.robots {
                Some(robots) => robot_page(robots, page, exchange).await?,
                None => unready("this node knows no tokens"),
            },
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
            (Page::Cluster | Page::Wish(_) | Page::Robot(_), _) => match &self.operations {
                Some(operations) => carry_out(operations, page).await,
                None => unready("this node knows no cluster"),
            },
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

/// Whether the other end may have the page. Reading is for everybody, but for tokens:
/// what they may do is nobody's business.
fn permitted(page: Page, exchange: &Exchange) -> Result<(), Answer> {
    match page {
        Page::Wish(_) | Page::Robot(_) => {
            check_peer(exchange.peer_address().ip())?;
            check_head(exchange.head())
        }
        _ => Ok(()),
    }
}

/// Shows the cluster, or changes it.
async fn carry_out(operations: &Operations, page: Page) -> Answer {
    let Page::Wish(wish) = page else {
        return status_page(&operations.status().await);
    };
    let done = match wish {
        Wish::Add => match operations.add().await {
            Ok(token) => {
                let token = json!({ "token": token.to_string() });
                return Answer::json(Status::OK, &token);
            }
            Err(error) => Err(error),
        },
        Wish::Promote(node) | Wish::ForcePromote(node) => {
            let is_forced = wish == Wish::ForcePromote(node);
            match operations.promote(node, is_forced).await {
                Ok(true) => Ok(()),
                Ok(false) => return Answer::json(Status::OK, &json!({ "status": "pending" })),
                Err(error) => Err(error),
            }
        }
        Wish::Demote(node) => operations.demote(node).await,
        Wish::Drain(node) => match operations.drain(node).await {
            Ok(census) => {
                let left = json!({
                    "blobs": census.blobs, "left": census.left, "sole": census.sole,
                });
                return Answer::json(Status::OK, &left);
            }
            Err(error) => Err(error),
        },
        Wish::Remove(node) => operations.remove(node, false).await,
        Wish::ForceRemove(node) => operations.remove(node, true).await,
        Wish::TransferLeader(to) => match operations.transfer_leader(to).await {
            Ok(leader) => {
                tracing::info!(?wish, leader, "leadership was handed over");
                return Answer::json(Status::OK, &json!({ "leader": leader }));
            }
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => {
            tracing::info!(?wish, "the cluster was changed");
            Answer::yes()
        }
        Err(error) => refused(wish, &error),
    }
}

fn refused(wish: Wish, error: &OperationError) -> Answer {
    tracing::warn!(?wish, %error, "the cluster was not changed");
    Answer::no(Status::CONFLICT, "refused", &error.to_string())
}

fn unready(reason: &str) -> Answer {
    Answer::no(Status::SERVICE_UNAVAILABLE, "unready", reason)
}

#[cfg(test)]
#[path = "door_test.rs"]
mod tests;
