//! The accept loops of one shard.

use std::future;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::FutureExt as _;

use crate::base::limits::{LAST_CALL_CONNECTIONS_MAX, LAST_CALL_TIMEOUT};
use crate::exchange::{self, Closed, Entrance, Exchange};
use crate::net::{self, Listener, TlsServer};
use crate::runtime::{InFlight, Shutdown, sleep, spawn};
use crate::telemetry::Metrics;

/// How one listener lets connections in.
#[derive(Default)]
pub(super) struct Entry {
    /// As at the start.
    pub(super) entrance: Entrance,
    /// Certificates and keys that take the place of the first.
    pub(super) renewed: Option<flume::Receiver<TlsServer>>,
}

/// What the accept loops of one shard share.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) door: Rc<exchange::Door>,
    pub(super) in_flight: InFlight,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    /// Connections that the shard holds.
    pub(super) open_max: usize,
}

impl Connections {
    /// Accepts connections until shutdown and lets them in; `handler` answers their
    /// requests.
    pub(super) async fn accept<H>(self, listener: Listener, mut entry: Entry, handler: H)
    where
        H: AsyncFn(&mut Exchange) -> Result<(), Closed> + 'static,
    {
        let handler = Rc::new(handler);
        let mut last_count = 0;
        while let Some(stream) = self.next(&listener, &mut entry).await {
            last_count += usize::from(self.shutdown.is_requested());
            if last_count > LAST_CALL_CONNECTIONS_MAX {
                return;
            }
            let (door, handler) = (Rc::clone(&self.door), Rc::clone(&handler));
            let (entrance, guard) = (entry.entrance.clone(), self.in_flight.enter());
            spawn(async move {
                if let Some(client) = entrance.admit(stream, &door).await {
                    exchange::serve(client, &door, &*handler).await;
                }
                drop(guard);
            })
            .detach();
        }
    }

    /// The next connection that this shard has room for; `None` when nobody has come
    /// for a moment after shutdown.
    async fn next(&self, listener: &Listener, entry: &mut Entry) -> Option<net::Stream> {
        loop {
            let accepted = async { Next::Accepted(listener.accept().await) };
            let renewed = async {
                match &entry.renewed {
                    Some(renewed) => Next::Renewed(renewed.recv_async().await.ok()),
                    None => future::pending().await,
                }
            };
            let stopped = async {
                self.shutdown.wait().await;
                sleep(LAST_CALL_TIMEOUT).await;
                Next::Stopped
            };
            match accepted.or(renewed).or(stopped).await {
                Next::Stopped => return None,
                Next::Renewed(Some(tls)) => entry.entrance.tls = Some(tls),
                Next::Renewed(None) => entry.renewed = None,
                Next::Accepted(Ok(stream)) if self.in_flight.count() < self.open_max => {
                    return Some(stream);
                }
                Next::Accepted(Ok(stream)) => {
                    self.metrics.http.connections_refused.count();
                    drop(stream);
                }
                Next::Accepted(Err(error)) => {
                    tracing::error!(%error, "a listener broke; the node stops");
                    self.shutdown.request();
                }
            }
        }
    }
}

/// What an accept loop waits for.
enum Next {
    Accepted(Result<net::Stream, net::Error>),
    /// A certificate and its key; none when none will come any more.
    Renewed(Option<TlsServer>),
    Stopped,
}
