//! Accepts connections at the peer port.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth_error::AuthError;
use super::connect::authenticate;
use super::link::Link;
use super::preamble::{PREAMBLE_BYTES, Purpose};
use super::security::Security;
use crate::base::limits::{
    PEER_ADDRESS_JOINERS_MAX, PEER_ADDRESS_NEWCOMERS_MAX, PEER_JOINERS_MAX, PEER_NEWCOMERS_MAX,
    PREAMBLE_TIMEOUT,
};
use crate::net::{self, Listener, Stream};
use crate::quota::{Turn, Turns};
use crate::runtime::{Task, spawn, timeout};
use crate::telemetry::Metrics;

/// The peer port of a node; one per process, on the raft core. Ends when dropped.
///
/// A task of its own accepts and reads preambles: an accept that is given up while the
/// kernel has a connection for it loses that connection.
pub struct PeerListener {
    address: SocketAddr,
    newcomers: flume::Receiver<Result<Newcomer, net::Error>>,
    /// Dropping it closes the port.
    _accepting: Task<()>,
}

/// What the task needs.
struct Door {
    listener: Listener,
    places: Arc<Semaphore>,
    /// The same places, by whose they are.
    newcomers: Turns,
    joiners: Turns,
    metrics: Arc<Metrics>,
    preamble_timeout: Duration,
}

/// A connection that has said what it is for, and has proved nothing yet.
#[derive(Debug)]
pub struct Newcomer {
    /// What it is for.
    pub purpose: Purpose,
    /// The connection, behind its preamble.
    pub stream: Stream,
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Its place among the unproved; to be kept until `authenticate` has returned, and
    /// by one that joins until its connection ends. It may go along to another executor.
    pub place: NewcomerPlace,
    metrics: Arc<Metrics>,
}

/// A newcomer on its way to another executor.
#[derive(Debug)]
pub struct HandedOver {
    purpose: Purpose,
    connected: OwnedFd,
    place: NewcomerPlace,
    metrics: Arc<Metrics>,
}

impl Newcomer {
    /// Proves both ends to each other as the purpose asks; counts the outcome, and
    /// from then on the connection.
    pub async fn authenticate(self, security: &Security) -> Result<Link, AuthError> {
        let proved = authenticate(self.stream, self.purpose, security).await;
        let proved = proved.map(|link| match self.purpose {
            Purpose::Join => link.keeping(self.place),
            _ => link,
        });
        match proved {
            Ok(link) => Ok(link.counted_by(&self.metrics)),
            Err(error) => {
                let failures = &self.metrics.peer.handshake_failures;
                failures.of(error.reason()).count();
                Err(error)
            }
        }
    }

    /// Gives the connection away, to be attached to another executor.
    pub fn detach(self) -> Result<HandedOver, net::Error> {
        Ok(HandedOver {
            purpose: self.purpose,
            connected: self.stream.detach()?,
            place: self.place,
            metrics: self.metrics,
        })
    }
}

impl HandedOver {
    /// Goes on with the connection on this executor.
    pub fn attach(self) -> Result<Newcomer, net::Error> {
        let stream = Stream::attach(self.connected)?;
        Ok(Newcomer {
            purpose: self.purpose,
            remote: stream.peer_address(),
            stream,
            place: self.place,
            metrics: self.metrics,
        })
    }
}

/// One of the `PEER_NEWCOMERS_MAX` places of connections that have proved nothing, or of
/// the `PEER_JOINERS_MAX` of those that never will.
#[derive(Debug)]
#[must_use = "a place is kept until the connection is authenticated"]
pub struct NewcomerPlace {
    /// Given back before the permit, so that whoever gets that one finds a turn.
    _turn: Turn,
    /// Of those that join there is no queue.
    _permit: Option<OwnedSemaphorePermit>,
}

/// How the wait for a preamble ended.
struct Greeting {
    remote: SocketAddr,
    outcome: Result<(Purpose, Stream, NewcomerPlace), AuthError>,
}

impl PeerListener {
    /// Listens; port 0 finds a free one.
    pub fn bind(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, net::Error> {
        Ok(Self::open(Door {
            listener: Listener::bind(address)?,
            places: Arc::new(Semaphore::new(PEER_NEWCOMERS_MAX)),
            newcomers: Turns::new(PEER_NEWCOMERS_MAX, PEER_ADDRESS_NEWCOMERS_MAX),
            joiners: Turns::new(PEER_JOINERS_MAX, PEER_ADDRESS_JOINERS_MAX),
            metrics,
            preamble_timeout: PREAMBLE_TIMEOUT,
        }))
    }

    fn open(door: Door) -> Self {
        let address = door.listener.address();
        // Bounded by the places: each that waits here has one.
        let (found, newcomers) = flume::unbounded();
        Self {
            address,
            newcomers,
            _accepting: spawn(door.attend(found)),
        }
    }

    /// The address listened on, with its real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection that has said what it is for. Those that say nothing of the
    /// kind are closed and counted; a slow one holds up nobody.
    ///
    /// - Errors: the listener itself is broken.
    /// - Cancel: loses no connection.
    pub async fn accept(&self) -> Result<Newcomer, net::Error> {
        match self.newcomers.recv_async().await {
            Ok(found) => found,
            // The task has said why before, and ended.
            Err(flume::RecvError::Disconnected) => Err(net::Error::Listen {
                address: self.address,
                source: io::ErrorKind::NotConnected.into(),
            }),
        }
    }
}

impl Door {
    /// Accepts until the listener breaks.
    async fn attend(self, found: flume::Sender<Result<Newcomer, net::Error>>) {
        let mut greetings = FuturesUnordered::new();
        let mut arriving = pin!(self.arrive());
        loop {
            let arrived = poll_fn(|context| {
                while let Poll::Ready(Some(greeting)) = greetings.poll_next_unpin(context) {
                    self.let_in(greeting, &found);
                }
                arriving.as_mut().poll(context)
            });
            match arrived.await {
                Ok((stream, place)) => {
                    greetings.push(Box::pin(greet(stream, place, self.preamble_timeout)));
                    arriving.set(self.arrive());
                }
                Err(broken) => {
                    // The owner may be gone, too.
                    drop(found.send(Err(broken)));
                    return;
                }
            }
        }
    }

    /// Hands on who has said what it wants; counts and closes who has not.
    fn let_in(&self, greeting: Greeting, found: &flume::Sender<Result<Newcomer, net::Error>>) {
        let Greeting { remote, outcome } = greeting;
        let outcome = outcome.and_then(|(purpose, stream, place)| {
            let place = if purpose == Purpose::Join {
                self.joiner_place(remote)?
            } else {
                place
            };
            Ok((purpose, stream, place))
        });
        match outcome {
            Ok((purpose, stream, place)) => {
                let newcomer = Newcomer {
                    purpose,
                    stream,
                    remote,
                    place,
                    metrics: Arc::clone(&self.metrics),
                };
                // The owner may be gone; then this task is about to be.
                drop(found.send(Ok(newcomer)));
            }
            Err(error) => self.refuse(remote, &error),
        }
    }

    /// A place for a machine that joins: it holds it for longer than any other newcomer.
    fn joiner_place(&self, remote: SocketAddr) -> Result<NewcomerPlace, AuthError> {
        let turn = self.joiners.take(remote.ip()).ok_or(AuthError::Crowded)?;
        Ok(NewcomerPlace {
            _permit: None,
            _turn: turn,
        })
    }

    fn refuse(&self, remote: SocketAddr, error: &AuthError) {
        tracing::debug!(%remote, %error, "a connection at the peer port is refused");
        let failures = &self.metrics.peer.handshake_failures;
        failures.of(error.reason()).count();
    }

    /// Waits for a place, then for somebody who may take it.
    async fn arrive(&self) -> Result<(Stream, NewcomerPlace), net::Error> {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let permit = permit.expect("invariant: the semaphore is never closed");
        loop {
            let stream = self.listener.accept().await?;
            let remote = stream.peer_address();
            if let Some(turn) = self.newcomers.take(remote.ip()) {
                let place = NewcomerPlace {
                    _permit: Some(permit),
                    _turn: turn,
                };
                return Ok((stream, place));
            }
            self.refuse(remote, &AuthError::Crowded);
        }
    }
}

async fn greet(mut stream: Stream, place: NewcomerPlace, limit: Duration) -> Greeting {
    let remote = stream.peer_address();
    let mut preamble = [0; PREAMBLE_BYTES];
    let reading = stream.read_exact(&mut preamble);
    let outcome = match timeout(limit, reading).await {
        Err(_) => Err(AuthError::TimedOut),
        Ok(Err(error)) => Err(AuthError::Broken(error)),
        Ok(Ok(())) => Purpose::of_preamble(preamble).map_err(AuthError::Preamble),
    };
    let outcome = outcome.map(|purpose| (purpose, stream, place));
    Greeting { remote, outcome }
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerListener")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "listener_test.rs"]
mod tests;
