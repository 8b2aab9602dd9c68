//! The serving end of one connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_lite::future::or;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::Semaphore;

use super::drive::{End, Endpoint, Watch, drive};
use super::error::{Refusal, RefusalCode};
use super::frame::{Frame, FrameError, FrameKind, HEADER_BYTES, encode_refusal, fits};
use super::link::Link;
use super::outbox::Outbox;
use super::service::Service;
use crate::base::limits::{
    PEER_CALL_BYTES_MAX, PEER_CALLS_MAX, PEER_JOIN_ANSWERS_MAX, PEER_JOIN_PAYLOAD_BYTES_MAX,
    PEER_JOIN_TIMEOUT, PEER_PAYLOAD_BYTES_MAX, PEER_PING_PERIOD, PEER_SERVED_SILENCE_MAX,
};
use crate::base::units::{to_u32, to_usize};
use crate::runtime::{Task, panic_message, spawn, timeout};
use crate::telemetry::{CallEnd, Metrics, PeerService};

/// Answers that may wait for a reader that does not read; then it loses the connection.
const WAITING_ANSWERS_MAX: usize = 2 * PEER_CALLS_MAX;

/// What another node asks for.
#[derive(Debug)]
pub struct Call {
    /// The node that asks; 0 for one that wants to join.
    pub from: u64,
    /// What it asks for.
    pub service: Service,
    /// What it says.
    pub payload: Bytes,
}

/// Serves the calls of one authenticated connection until it ends.
///
/// Each call runs as a task of its own; beyond `PEER_CALLS_MAX` calls or
/// `PEER_CALL_BYTES_MAX` bytes they are refused as busy. A node that joins may call
/// nothing but `Service::Join`, once at a time, in small frames, for
/// `PEER_JOIN_TIMEOUT`. A handler that panics refuses its call, also where
/// panics are fatal otherwise.
///
/// - Cancel: closes the connection and stops its calls at their next await point, as
///   the end of the connection does.
pub async fn serve_calls<H>(link: Link, handler: Rc<H>)
where
    H: AsyncFn(Call) -> Result<Bytes, Refusal> + 'static,
{
    let from = link.peer();
    let server = Server {
        from,
        handler,
        shared: Rc::new(Serving {
            outbox: Outbox::default(),
            room: Arc::new(Semaphore::new(to_usize(PEER_CALL_BYTES_MAX))),
            metrics: link.metrics().cloned(),
            calls: Cell::new(0),
            call_bytes: Cell::new(0),
        }),
        tasks: RefCell::default(),
    };
    let watch = Watch {
        period: PEER_PING_PERIOD,
        silence_max: PEER_SERVED_SILENCE_MAX,
    };
    let driving = drive(link, &server.shared.outbox, watch, &server);
    // The tasks' own waits are polled after the reading that may have added one.
    let serving = or(driving, server.reap());
    let end = if server.is_joiner() {
        let end = timeout(PEER_JOIN_TIMEOUT, serving).await;
        end.unwrap_or(End::Overdue)
    } else {
        serving.await
    };
    if let (End::Frame(_), Some(metrics)) = (&end, &server.shared.metrics) {
        metrics.peer.broken_frames.count();
    }
    tracing::debug!(from, %end, "a connection from a node ended");
}

struct Server<H> {
    from: u64,
    handler: Rc<H>,
    shared: Rc<Serving>,
    tasks: RefCell<FuturesUnordered<Task<()>>>,
}

/// What the calls of a connection share.
struct Serving {
    outbox: Outbox,
    /// For answers that wait.
    room: Arc<Semaphore>,
    metrics: Option<Arc<Metrics>>,
    calls: Cell<usize>,
    call_bytes: Cell<usize>,
}

impl<H> Server<H>
where
    H: AsyncFn(Call) -> Result<Bytes, Refusal> + 'static,
{
    /// Lets go of tasks that have ended; never returns.
    async fn reap(&self) -> End {
        poll_fn(|context| {
            // A panic that is no handler's was logged by the task.
            while let Poll::Ready(Some(_)) = self.tasks.borrow_mut().poll_next_unpin(context) {}
            Poll::Pending
        })
        .await
    }

    /// Whether the other end has proved nothing yet.
    const fn is_joiner(&self) -> bool {
        self.from == 0
    }

    /// The service to run, unless the call is refused at once.
    fn admit(&self, frame: &Frame) -> Result<Service, Refusal> {
        let Some(service) = Service::of_code(frame.service) else {
            let reason = format!("service {}", frame.service);
            return Err(Refusal::new(RefusalCode::UnknownService, reason));
        };
        if self.is_joiner() && service != Service::Join {
            let reason = "a node that is no member may only join";
            return Err(Refusal::new(RefusalCode::NotAllowed, reason));
        }
        let bytes = self.shared.call_bytes.get() + frame.payload.len();
        let calls_max = if self.is_joiner() { 1 } else { PEER_CALLS_MAX };
        if self.shared.calls.get() >= calls_max || bytes > to_usize(PEER_CALL_BYTES_MAX) {
            let reason = "too many calls are under way";
            return Err(Refusal::new(RefusalCode::Busy, reason));
        }
        Ok(service)
    }
}

impl<H> Endpoint for Server<H>
where
    H: AsyncFn(Call) -> Result<Bytes, Refusal> + 'static,
{
    fn payload_bytes_max(&self) -> u32 {
        if self.is_joiner() {
            PEER_JOIN_PAYLOAD_BYTES_MAX
        } else {
            PEER_PAYLOAD_BYTES_MAX
        }
    }

    fn receive(&self, frame: Frame) -> Result<(), FrameError> {
        let waiting_max = if self.is_joiner() {
            PEER_JOIN_ANSWERS_MAX
        } else {
            WAITING_ANSWERS_MAX
        };
        if frame.kind != FrameKind::Call || self.shared.outbox.count() > waiting_max {
            return Err(FrameError::Unexpected);
        }
        let asked = Asked {
            id: frame.id,
            service: frame.service,
        };
        match self.admit(&frame) {
            Ok(service) => {
                let under_way = UnderWay::new(&self.shared, frame.payload.len());
                let handler = Rc::clone(&self.handler);
                let call = Call {
                    from: self.from,
                    service,
                    payload: frame.payload,
                };
                let serving = async move {
                    let handling = async { handler(call).await };
                    let outcome = AssertUnwindSafe(handling).catch_unwind().await;
                    let outcome = outcome.unwrap_or_else(|panic| {
                        let message = panic_message(panic.as_ref());
                        tracing::error!(%message, ?service, "the handler of a call panicked");
                        Err(Refusal::new(RefusalCode::Failed, "the node has a fault"))
                    });
                    under_way.0.answer(asked, outcome).await;
                };
                self.tasks.borrow_mut().push(spawn(serving));
            }
            Err(refusal) => self.shared.refuse(asked, &refusal),
        }
        Ok(())
    }

    fn look(&self) -> bool {
        true
    }
}

/// What an answer must repeat of its call.
#[derive(Debug, Clone, Copy)]
struct Asked {
    id: u64,
    service: u16,
}

impl Serving {
    /// Queues what came of a call, waiting while too much waits already.
    async fn answer(&self, asked: Asked, outcome: Result<Bytes, Refusal>) {
        let payload = match outcome {
            Ok(payload) if fits(payload.len()) => payload,
            Ok(payload) => {
                let reason = format!("an answer of {} bytes", payload.len());
                return self.refuse(asked, &Refusal::new(RefusalCode::TooLarge, reason));
            }
            Err(refusal) => return self.refuse(asked, &refusal),
        };
        let bytes = to_u32(HEADER_BYTES + payload.len());
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let frame = Frame {
            kind: FrameKind::Answer,
            service: asked.service,
            id: asked.id,
            payload,
        };
        self.outbox.push(frame, room.ok());
        self.count(asked, CallEnd::Answered);
    }

    fn refuse(&self, asked: Asked, refusal: &Refusal) {
        let frame = Frame {
            kind: FrameKind::Refusal,
            service: asked.service,
            id: asked.id,
            payload: encode_refusal(refusal.code.code(), &refusal.reason),
        };
        self.outbox.push(frame, None);
        self.count(asked, CallEnd::Refused);
    }

    fn count(&self, asked: Asked, end: CallEnd) {
        let service = Service::of_code(asked.service);
        let label = service.map_or(PeerService::Unknown, Service::label);
        if let Some(metrics) = &self.metrics {
            metrics.peer.served_calls.of((label, end)).count();
        }
    }
}

/// Counts a call among those under way until it is dropped.
struct UnderWay(Rc<Serving>, usize);

impl UnderWay {
    fn new(serving: &Rc<Serving>, bytes: usize) -> Self {
        serving.calls.set(serving.calls.get() + 1);
        serving.call_bytes.set(serving.call_bytes.get() + bytes);
        Self(Rc::clone(serving), bytes)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
        self.0.call_bytes.set(self.0.call_bytes.get() - self.1);
    }
}
