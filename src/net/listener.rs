//! Accepts connections for one shard.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use glommio::GlommioError;
use glommio::net::{TcpListener, TcpStream};
use rustix::io::Errno;

use super::error::Error;
use super::stream::Stream;
use crate::runtime::sleep;

/// How long accepting rests when the process has no descriptor or memory left for
/// another connection: trying at once would only spin.
const EXHAUSTED_REST: Duration = Duration::from_millis(100);

/// A listening socket. Each shard has its own on the same port, and the kernel spreads
/// connections over them. Ends when dropped.
pub struct Listener {
    socket: Rc<TcpListener>,
    address: SocketAddr,
    accepting: RefCell<Accepting>,
}

type Accepted = Result<TcpStream, GlommioError<()>>;

/// The accept under way. It outlives whoever waited for it: when a wait is given
/// up, the kernel may have taken a connection already, which would be lost.
#[derive(Default)]
struct Accepting {
    future: Option<Pin<Box<dyn Future<Output = Accepted>>>>,
    signal: Arc<Signal>,
}

/// Wakes whoever waits now. glommio keeps every waker of every poll until the
/// operation is done, so it gets this one, and is polled only when it has called.
#[derive(Default)]
struct Signal {
    is_called: AtomicBool,
    waiter: AtomicWaker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.is_called.store(true, Ordering::Release);
        self.waiter.wake();
    }
}

impl Accepting {
    fn poll(&mut self, listener: &Rc<TcpListener>, context: &Context<'_>) -> Poll<Accepted> {
        self.signal.waiter.register(context.waker());
        let is_new = self.future.is_none();
        let future = self.future.get_or_insert_with(|| {
            let listener = Rc::clone(listener);
            Box::pin(async move { listener.accept().await })
        });
        if !is_new && !self.signal.is_called.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.signal));
        let accepted = ready!(future.as_mut().poll(&mut Context::from_waker(&waker)));
        self.future = None;
        Poll::Ready(accepted)
    }
}

impl Listener {
    /// Listens. With port 0 the first shard's listener finds a free port; the others
    /// bind the [`Listener::address`] it got.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source: GlommioError<()>| Error::Listen {
            address,
            source: source.into(),
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            socket: Rc::new(listener),
            address,
            accepting: RefCell::default(),
        })
    }

    /// The address listened on, with its real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, ready to use. Connections that were gone before they were
    /// accepted are passed over; when descriptors or memory run out it rests and tries
    /// again, so that it only returns with a connection or with a broken listener.
    ///
    /// - Cancel: loses a connection that the kernel hands over at the same moment: it
    ///   stays open and nobody has it. Only good before the listener is closed.
    pub async fn accept(&self) -> Result<Stream, Error> {
        loop {
            let accepting =
                poll_fn(|context| self.accepting.borrow_mut().poll(&self.socket, context));
            let error = match accepting.await {
                Ok(stream) => match Stream::adopt(stream) {
                    Ok(stream) => return Ok(stream),
                    Err(gone) => {
                        tracing::debug!(error = %gone, "a connection was gone when accepted");
                        continue;
                    }
                },
                Err(error) => io::Error::from(error),
            };
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    tracing::warn!(%error, "no resources for another connection");
                    sleep(EXHAUSTED_REST).await;
                }
                Some(
                    Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT,
                ) => {
                    return Err(Error::Listen {
                        address: self.address,
                        source: error,
                    });
                }
                // The connection's own errors, which accept reports for it.
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
