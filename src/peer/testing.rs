//! Nodes on the loopback, for the tests of this room.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::zip;

use super::auth_error::AuthError;
use super::connect::connect;
use super::error::{ConnectError, Refusal, RefusalCode};
use super::identity::{ClusterId, PeerIdentity};
use super::link::Link;
use super::listener::PeerListener;
use super::node::PeerNode;
use super::preamble::Purpose;
use super::security::{Security, SharedSecret};
use super::serve::{Call, serve_calls};
use super::service::Service;
use crate::base::Clock;
use crate::net::Stream;
use crate::runtime::{Task, sleep, spawn, timeout};
use crate::telemetry::Metrics;

/// Longer than anything in a test should take.
pub(crate) const NOBODY_WAITS: Duration = Duration::from_secs(20);

/// A node of cluster `cluster` with a shared secret.
pub(crate) fn plain(cluster: char, node: u64, secret: &str) -> Security {
    let cluster = ClusterId::parse(&cluster.to_string().repeat(32)).unwrap();
    let identity = PeerIdentity { cluster, node };
    Security::Plain(SharedSecret::new(identity, secret.as_bytes()).unwrap())
}

/// Node `node` of the cluster that most tests are in.
pub(crate) fn member(node: u64) -> Security {
    plain('a', node, "the secret of the test")
}

/// Listens on a free port.
pub(crate) fn listen(metrics: &Arc<Metrics>) -> PeerListener {
    PeerListener::bind("127.0.0.1:0".parse().unwrap(), Arc::clone(metrics)).unwrap()
}

/// The node `id` at `address`.
pub(crate) fn node(id: u64, address: SocketAddr) -> PeerNode {
    let address = address.to_string().into();
    PeerNode { id, address }
}

/// The next connection, authenticated.
pub(crate) async fn welcome(
    listener: &PeerListener,
    security: &Security,
) -> Result<Link, AuthError> {
    let newcomer = listener.accept().await.unwrap();
    newcomer.authenticate(security).await
}

/// Both ends' outcomes of one connection.
pub(crate) async fn meet(
    listener: &PeerListener,
    purpose: Purpose,
    wanted: u64,
    (dialer, other): (&Security, &Security),
) -> (Result<Link, ConnectError>, Result<Link, AuthError>) {
    let target = node(wanted, listener.address());
    let dialing = connect(&target, purpose, dialer);
    let meeting = zip(dialing, welcome(listener, other));
    timeout(NOBODY_WAITS, meeting).await.unwrap()
}

/// A connection for calls on which the dialer goes on as the test says.
pub(crate) async fn knock(address: SocketAddr, bytes: &[u8]) -> Stream {
    let mut stream = Stream::connect(address).await.unwrap();
    let preamble = Purpose::Calls.preamble();
    stream.write_all(&preamble).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Waits until `is_so`.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let began = clock.now();
    while !is_so() {
        assert!(began.elapsed() < NOBODY_WAITS, "waited for too long");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A node that answers calls until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) calls: Rc<Cell<usize>>,
    _accepting: Task<()>,
}

/// What [`Server`] does with the first byte of a call.
pub(crate) const ECHO_TAG: u8 = b'e';
pub(crate) const PANIC_TAG: u8 = b'p';
pub(crate) const REFUSE_TAG: u8 = b'r';
pub(crate) const HANG_TAG: u8 = b'h';
pub(crate) const SLOW_TAG: u8 = b's';
pub(crate) const LARGE_TAG: u8 = b'l';
pub(crate) const WHO_TAG: u8 = b'w';

impl Server {
    pub(crate) fn start(security: Security) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), security)
    }

    pub(crate) fn start_at(address: SocketAddr, security: Security) -> Self {
        let metrics = Arc::new(Metrics::new());
        let listener = PeerListener::bind(address, Arc::clone(&metrics)).unwrap();
        let address = listener.address();
        let calls = Rc::new(Cell::new(0));
        let handler = Rc::new(handler(Rc::clone(&calls)));
        let accepting = spawn(async move {
            let mut serving = Vec::new();
            loop {
                if let Ok(link) = welcome(&listener, &security).await {
                    serving.push(spawn(serve_calls(link, Rc::clone(&handler))));
                }
            }
        });
        Self {
            address,
            metrics,
            calls,
            _accepting: accepting,
        }
    }
}

fn handler(calls: Rc<Cell<usize>>) -> impl AsyncFn(Call) -> Result<Bytes, Refusal> + 'static {
    struct Running(Rc<Cell<usize>>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    async move |call: Call| {
        calls.set(calls.get() + 1);
        let _running = Running(Rc::clone(&calls));
        match call.payload.first() {
            Some(&ECHO_TAG) => Ok(call.payload),
            Some(&PANIC_TAG) => panic!("on purpose"),
            Some(&REFUSE_TAG) => Err(Refusal::new(RefusalCode::Unavailable, "not now")),
            Some(&SLOW_TAG) => {
                sleep(Duration::from_millis(200)).await;
                Ok(call.payload)
            }
            Some(&HANG_TAG) => std::future::pending().await,
            Some(&LARGE_TAG) => Ok(vec![0; 17 * 1024 * 1024].into()),
            Some(&WHO_TAG) => {
                let service = if call.service == Service::Join {
                    'j'
                } else {
                    'm'
                };
                Ok(format!("{service}{}", call.from).into())
            }
            _ => Err(Refusal::new(RefusalCode::Malformed, "what?")),
        }
    }
}
