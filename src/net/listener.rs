//! Accepts connections for one shard.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use glommio::GlommioError;
use glommio::net::{TcpListener, TcpStream};
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, ipproto, shutdown, socket_with,
};

use super::error::Error;
use super::stream::Stream;
use super::zero_copy::attach_listener;
use crate::runtime::sleep;

/// How long accepting rests when the process has no descriptor or memory left for
/// another connection: trying at once would only spin.
const EXHAUSTED_REST: Duration = Duration::from_millis(100);

/// Connections that wait to be accepted, at most, on each shard.
const BACKLOG_CONNECTIONS: i32 = 1024;

/// A listening socket. Each shard has its own on the same port, and the kernel spreads
/// connections over them. Ends when dropped.
pub struct Listener {
    socket: Rc<TcpListener>,
    /// The same socket, for calls that the executor lacks.
    descriptor: OwnedFd,
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
        let failed = |source: io::Error| Error::Listen { address, source };
        let descriptor = listen(address).map_err(failed)?;
        let own = fcntl_dupfd_cloexec(&descriptor, 0).map_err(|errno| failed(errno.into()))?;
        let listener = attach_listener(own);
        let address = listener
            .local_addr()
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            socket: Rc::new(listener),
            descriptor,
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
    /// - Cancel: loses no connection; the next call gives it, or [`Listener::close`].
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

impl Listener {
    /// Closes the listener, and gives the connections, at most `connections_max`, that
    /// the kernel had taken for it: to their clients they are open, and what is dropped
    /// with a listener is a request that fails.
    pub async fn close(self, connections_max: usize) -> Vec<Stream> {
        let mut taken = Vec::new();
        if ioctl_fionbio(&self.descriptor, true).is_ok() {
            while taken.len() < connections_max
                && let Ok(socket) = accept_with(&self.descriptor, SocketFlags::CLOEXEC)
            {
                taken.push(socket);
            }
        }
        // Whoever comes from here on is refused, and goes elsewhere; the accept under
        // way, which may have got a connection meanwhile, ends.
        let stopped = shutdown(&self.descriptor, Shutdown::Both);
        let attached = taken.into_iter().map(Stream::attach);
        let mut streams: Vec<Stream> = attached.filter_map(Result::ok).collect();
        let is_under_way = self.accepting.borrow().future.is_some();
        if stopped.is_ok() && is_under_way {
            let last = poll_fn(|context| self.accepting.borrow_mut().poll(&self.socket, context));
            if let Ok(stream) = last.await {
                streams.extend(Stream::adopt(stream));
            }
        }
        streams
    }
}

/// Binds and listens; the kernel spreads connections over all who share the port.
fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG_CONNECTIONS)?;
    Ok(socket)
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
