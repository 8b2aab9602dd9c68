//! The accept loops of one shard.

use std::future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::FutureExt as _;

use crate::base::limits::{LAST_CALL_CONNECTIONS_MAX, LAST_CALL_TIMEOUT};
use crate::exchange::{self, Closed, Entering, Entrance, Exchange};
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
    /// Those of the listener that have not been let in yet.
    pub(super) entering: Rc<Entering>,
    pub(super) in_flight: InFlight,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    /// Connections that the shard holds, beside those that are ending.
    pub(super) open_max: usize,
    /// The number of the listener at the door.
    pub(super) listener: u8,
}

/// Connections that are ending because others took their places: one for this many places
/// at most, so that nobody fills the memory with them.
const ENDING_SHARES: usize = 8;

impl Connections {
    /// The same for others, at most `open_max` at once, of whom `entrants_max` are not let
    /// in yet. They are counted apart: neither side can take the other's room.
    pub(super) fn apart(&self, open_max: usize, entrants_max: usize) -> Self {
        Self {
            listener: self.listener + 1,
            entering: Rc::new(Entering::new(entrants_max)),
            in_flight: InFlight::new(),
            open_max,
            ..self.clone()
        }
    }

    /// Accepts connections until shutdown and lets them in; `handler` answers their
    /// requests.
    pub(super) async fn accept<H>(self, listener: Listener, mut entry: Entry, handler: H)
    where
        H: AsyncFn(&mut Exchange) -> Result<(), Closed> + 'static,
    {
        let handler = Rc::new(handler);
        let mut last_count = 0;
        while last_count < LAST_CALL_CONNECTIONS_MAX
            && let Some(stream) = self.next(&listener, &mut entry).await
        {
            last_count += usize::from(self.shutdown.is_requested());
            self.serve(stream, &entry, &handler);
        }
        // To their clients these are open: each gets its answer.
        for stream in listener.close(LAST_CALL_CONNECTIONS_MAX).await {
            self.serve(stream, &entry, &handler);
        }
    }

    /// Starts serving a connection.
    fn serve<H>(&self, stream: net::Stream, entry: &Entry, handler: &Rc<H>)
    where
        H: AsyncFn(&mut Exchange) -> Result<(), Closed> + 'static,
    {
        let (door, handler) = (Rc::clone(&self.door), Rc::clone(handler));
        let (entrance, entering) = (entry.entrance.clone(), Rc::clone(&self.entering));
        let (guard, listener) = (self.in_flight.enter(), self.listener);
        spawn(async move {
            if let Some(client) = entrance.admit(stream, &door, &entering).await {
                exchange::serve(client.at(listener), &door, &*handler).await;
            }
            drop(guard);
        })
        .detach();
    }

    /// Whether one more may come: in a place that is free, or in that of the connection
    /// that has been without a request for longest.
    fn has_room(&self) -> bool {
        let (count, open_max) = (self.in_flight.count(), self.open_max);
        let ending_max = (open_max / ENDING_SHARES).max(1);
        count < open_max || (count < open_max + ending_max && self.door.displace(self.listener))
    }

    /// The next connection that this shard has room for; `None` when nobody has come
    /// for a moment after shutdown.
    async fn next(&self, listener: &Listener, entry: &mut Entry) -> Option<net::Stream> {
        // One moment, however many are turned away in it.
        let mut stopped = pin!(async {
            self.shutdown.wait().await;
            sleep(LAST_CALL_TIMEOUT).await;
            Next::Stopped
        });
        loop {
            let accepted = async { Next::Accepted(listener.accept().await) };
            let renewed = async {
                match &entry.renewed {
                    Some(renewed) => Next::Renewed(renewed.recv_async().await.ok()),
                    None => future::pending().await,
                }
            };
            match stopped.as_mut().or(accepted).or(renewed).await {
                Next::Stopped => return None,
                Next::Renewed(Some(tls)) => entry.entrance.tls = Some(tls),
                Next::Renewed(None) => entry.renewed = None,
                Next::Accepted(Ok(stream)) if self.has_room() => return Some(stream),
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

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::base::limits::SHARD_ENTRANTS_MAX;
    use crate::http::{ResponseHead, Status};
    use crate::runtime::{Task, run_alone, timeout};

    /// Longer than anything here should take.
    const NOBODY_WAITS: Duration = Duration::from_secs(20);

    fn listen(connections: Connections) -> (SocketAddr, Task<()>) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let handler = async |exchange: &mut Exchange| {
            if exchange.head().path() == "/for/ever" {
                future::pending::<()>().await;
            }
            let head = ResponseHead::new(Status::OK);
            exchange.respond(head, b"").await
        };
        let accepting = spawn(connections.accept(listener, Entry::default(), handler));
        (address, accepting)
    }

    fn connections(open_max: usize) -> Connections {
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
        let options = exchange::Options::default();
        Connections {
            door: exchange::Door::open(options, Arc::clone(&metrics), shutdown.clone()),
            entering: Rc::new(Entering::new(SHARD_ENTRANTS_MAX)),
            in_flight: InFlight::new(),
            metrics,
            shutdown,
            open_max,
            listener: 0,
        }
    }

    /// Connections with a request each that is never answered, once that is so.
    async fn busy(address: SocketAddr, metrics: &Metrics, count: i64) -> Vec<net::Stream> {
        let before = metrics.http.requests_in_flight.value();
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = net::Stream::connect(address).await.unwrap();
            let request = b"GET /for/ever HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(request).await.unwrap();
            streams.push(stream);
        }
        let are_busy = async {
            while metrics.http.requests_in_flight.value() < before + count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(NOBODY_WAITS, are_busy).await.unwrap();
        streams
    }

    /// The status of a request on a new connection, with the connection; `None` when
    /// nobody has room for it.
    async fn ask(address: SocketAddr) -> Option<(String, net::Stream)> {
        let asking = async {
            let mut stream = net::Stream::connect(address).await.ok()?;
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(request).await.ok()?;
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.ok()?;
            Some((String::from_utf8_lossy(&line).into_owned(), stream))
        };
        timeout(NOBODY_WAITS, asking).await.unwrap()
    }

    #[test]
    fn clients_that_fill_their_room_leave_that_of_operators_free() {
        run_alone(|| async {
            let clients = connections(1);
            let (operators, metrics) = (clients.apart(2, 1), Arc::clone(&clients.metrics));
            let counts = [clients.in_flight.clone(), operators.in_flight.clone()];
            let (for_clients, _accepting) = listen(clients);
            let (for_operators, _accepting) = listen(operators);
            let held = busy(for_clients, &metrics, 1).await;
            assert!(ask(for_clients).await.is_none());
            assert_eq!(metrics.http.connections_refused.value(), 1);
            let first = ask(for_operators).await.unwrap();
            assert_eq!(first.0, "HTTP/1.1 200");
            let rest = busy(for_operators, &metrics, 1).await;
            assert_eq!(counts.map(|each| each.count()), [1, 2]);
            drop((held, first, rest));
        });
    }

    #[test]
    fn who_is_idle_gives_place_to_newcomers_and_nobody_else_does() {
        run_alone(|| async {
            let full = connections(3);
            let (metrics, in_flight) = (Arc::clone(&full.metrics), full.in_flight.clone());
            let (address, _accepting) = listen(full);
            let held = busy(address, &metrics, 1).await;
            let mut idle = Vec::new();
            // What has answered may still be on its way to its next request.
            for _ in 0..1000 {
                if idle.len() == 20 {
                    break;
                }
                let answered = ask(address).await;
                idle.extend(answered.map(|(_, stream)| stream));
                assert!(in_flight.count() <= 4);
            }
            assert_eq!(idle.len(), 20);
            assert_eq!(metrics.http.requests_in_flight.value(), 1);
            let is_closed = async {
                let mut bytes = [0; 200];
                while let Ok(1..) = idle[0].read(&mut bytes).await {}
            };
            timeout(NOBODY_WAITS, is_closed).await.unwrap();
            drop(idle);
            let are_gone = async {
                while in_flight.count() > 1 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(NOBODY_WAITS, are_gone).await.unwrap();
            let _busy = busy(address, &metrics, 2).await;
            assert!(ask(address).await.is_none(), "nobody is idle");
            drop(held);
        });
    }

    #[test]
    fn whoever_is_let_in_while_the_end_comes_is_answered() {
        const ENDS: usize = 30;
        // The kernel resets whoever it lets in between the last look and the end, which
        // are next to each other.
        const RESETS_MAX: usize = 10;
        let mut resets = 0;
        for _ in 0..ENDS {
            let (begun, address) = flume::bounded(1);
            let server = thread::spawn(move || {
                run_alone(move || async move {
                    let connections = connections(1000);
                    let (shutdown, in_flight) =
                        (connections.shutdown.clone(), connections.in_flight.clone());
                    let metrics = Arc::clone(&connections.metrics);
                    let (address, accepting) = listen(connections);
                    begun.send(address).unwrap();
                    while metrics.http.connections_accepted.value() < 20 {
                        sleep(Duration::from_millis(1)).await;
                    }
                    shutdown.request();
                    accepting.await.unwrap();
                    while in_flight.count() > 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                });
            });
            let address = address.recv().unwrap();
            // They come all the time, until nobody is there.
            let comers = [(); 4].map(|()| {
                thread::spawn(move || {
                    while let Ok(mut peer) = TcpStream::connect(address) {
                        peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
                        let mut line = [0; 12];
                        peer.read_exact(&mut line)?;
                    }
                    io::Result::Ok(())
                })
            });
            for comer in comers {
                resets += usize::from(comer.join().unwrap().is_err());
            }
            server.join().unwrap();
        }
        assert!(resets <= RESETS_MAX, "{resets} of {}", 4 * ENDS);
    }

    #[test]
    fn those_who_are_turned_away_again_and_again_do_not_hold_up_the_end() {
        run_alone(|| async {
            let full = connections(0);
            let (shutdown, metrics) = (full.shutdown.clone(), Arc::clone(&full.metrics));
            let (address, accepting) = listen(full);
            let comers: Vec<_> = (0..4)
                .map(|_| spawn(async move { while ask(address).await.is_none() {} }))
                .collect();
            let are_turned_away = async {
                while metrics.http.connections_refused.value() < 100 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(NOBODY_WAITS, are_turned_away).await.unwrap();
            shutdown.request();
            timeout(NOBODY_WAITS, accepting).await.unwrap().unwrap();
            drop(comers);
        });
    }
}
