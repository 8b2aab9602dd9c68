//! The life of one connection.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::base::limits::LINGER_BYTES_MAX;
use crate::base::units::to_u64;
use crate::http::{After, Method, Refusal, ResponseHead, Status};
use crate::runtime::yield_if_needed;
use crate::telemetry::{Route, StatusClass, TimeoutPhase, Verb};

use super::client::Client;
use super::deadline::Elapsed;
use super::door::Door;
use super::error::Closed;
use super::request::{Answer, Exchange};
use super::wire::Received;

/// Serves one connection until it ends: one call of `handler` per request, in
/// the order of the requests.
///
/// - Shape: runs on the shard of `door` and waits for the client; a panic of the
///   handler costs this connection only (500 when nothing was answered).
/// - Cancel: the connection is cut.
pub async fn serve<H>(client: impl Into<Client>, door: &Rc<Door>, handler: &H)
where
    H: AsyncFn(&mut Exchange) -> Result<(), Closed>,
{
    let metrics = &door.metrics().http;
    metrics.connections_accepted.count();
    let _open = metrics.connections.raised();
    let mut client = client.into();
    let refusal = client.refusal.take();
    let deadline = door.deadlines().enter_at(client.listener);
    let mut exchange = Exchange::new(door, client, deadline);
    if let Some(refusal) = refusal {
        exchange.refuse_head(refusal).await;
        exchange.linger().await;
        return;
    }
    while exchange.next_request().await {
        let in_flight = metrics.requests_in_flight.raised();
        let handled = AssertUnwindSafe(handler(&mut exchange))
            .catch_unwind()
            .await;
        let handled = handled.unwrap_or_else(|_| Err(exchange.fail()));
        let after = exchange.settle(handled).await;
        drop(in_flight);
        exchange.report();
        if !exchange.follow(after).await {
            break;
        }
        // Pipelined requests are always ready: others get their turn here.
        yield_if_needed().await;
    }
    if exchange.wire.is_rekeyed() {
        door.metrics().tls.key_updates.count();
    }
    exchange.part().await;
}

impl Exchange {
    /// Waits for the next request; false when there is none. What is no request
    /// has been answered then.
    async fn next_request(&mut self) -> bool {
        match self.next_head().await {
            Ok(is_request) => is_request,
            Err(refusal) => {
                self.refuse_head(refusal).await;
                self.linger().await;
                false
            }
        }
    }

    async fn next_head(&mut self) -> Result<bool, Refusal> {
        let mut begun = None;
        loop {
            if let Some((head, taken)) = self.connection.take_head(self.received.bytes())? {
                self.received.take(taken);
                self.start(head)?;
                return Ok(true);
            }
            let options = self.door.options();
            let received = if self.received.is_empty() {
                let limit = options.idle_timeout;
                self.wire.receive_idle(self.received.space(), limit).await
            } else {
                let now = self.door.deadlines().coarse_now();
                let spent = now - *begun.get_or_insert(now);
                match options.head_timeout.saturating_sub(spent) {
                    Duration::ZERO => Err(Elapsed),
                    limit => self.wire.receive(self.received.space(), limit).await,
                }
            };
            match received {
                Ok(Received::Bytes(count)) => self.received.filled(count),
                Ok(Received::End) => return Ok(false),
                Err(Elapsed) if self.received.is_empty() => {
                    if !self.door.is_shutting_down() {
                        self.count_timeout(TimeoutPhase::Idle);
                    }
                    return Ok(false);
                }
                Err(Elapsed) => {
                    self.count_timeout(TimeoutPhase::Head);
                    return Err(Refusal::new(
                        Status::REQUEST_TIMEOUT,
                        "The request head comes too slowly.",
                    ));
                }
            }
        }
    }

    /// Takes in that the handler panicked.
    fn fail(&mut self) -> Closed {
        self.door.metrics().http.panics.count();
        tracing::error!(request_id = %self.request_id(), "the handler of a request panicked");
        let failure = Refusal::new(Status::INTERNAL_SERVER_ERROR, "The server failed.");
        self.refusal = Some(failure);
        failure.into()
    }

    /// Answers what the handler left to the driver, and completes the answer.
    async fn settle(&mut self, handled: Result<(), Closed>) -> After {
        if self.answer == Answer::Due {
            let refusal = match handled {
                Err(Closed::Gone | Closed::Stalled) => {
                    self.is_cut = true;
                    return After::Close;
                }
                Err(Closed::Refused(refusal)) => refusal,
                Ok(()) => {
                    tracing::error!(request_id = %self.request_id(), "a handler did not answer");
                    Refusal::new(Status::INTERNAL_SERVER_ERROR, "The server failed.")
                }
            };
            self.refusal = Some(refusal);
            let (head, body) = refusal_answer(refusal);
            if self.respond(head, &body).await.is_err() {
                self.is_cut = true;
                return After::Close;
            }
        }
        if handled == Err(Closed::Stalled) {
            self.count_timeout(TimeoutPhase::Write);
        }
        // An answer whose body stops short of its length can only be cut.
        let is_complete = matches!(self.answer, Answer::Complete { .. });
        if !is_complete || self.finish_answer().await.is_err() {
            self.received.clear();
            self.is_cut = true;
            return After::Close;
        }
        self.connection.after_answer()
    }

    /// Does what follows an answer; true when another request may come.
    async fn follow(&mut self, after: After) -> bool {
        match after {
            After::NextHead => true,
            After::Drain => self.drain().await == After::NextHead,
            After::Close => {
                let has_more = !self.connection.body().is_end() || !self.received.is_empty();
                if self.refusal.is_some() || has_more {
                    self.linger().await;
                }
                false
            }
        }
    }

    /// Drops the rest of a body that was answered before it was read.
    async fn drain(&mut self) -> After {
        loop {
            if self.received.is_empty() && !self.receive_unwanted().await {
                return After::Close;
            }
            let (taken, after) = self.connection.drain(self.received.bytes_mut());
            self.received.take(taken);
            match after {
                After::Drain => {}
                After::NextHead => return after,
                After::Close => {
                    self.linger().await;
                    return after;
                }
            }
        }
    }

    /// Ends the sending side and drops what still comes, for a while.
    async fn linger(&mut self) {
        self.wire.finish(self.door.options().linger_timeout).await;
        self.received.clear();
        let end = self.door.now() + self.door.options().linger_timeout;
        let mut dropped_bytes = 0;
        while dropped_bytes < LINGER_BYTES_MAX {
            let limit = end.saturating_duration_since(self.door.now());
            if limit.is_zero() {
                return;
            }
            match self.wire.receive(self.received.space(), limit).await {
                Ok(Received::Bytes(count)) => dropped_bytes += to_u64(count),
                Ok(Received::End) | Err(Elapsed) => return,
            }
        }
    }

    /// Ends a connection in order. One that stops in the middle of an answer is cut
    /// instead: it must not look complete.
    async fn part(&mut self) {
        if !self.is_cut {
            self.wire.part(self.door.options().linger_timeout).await;
        }
    }

    /// Answers bytes that are no request.
    async fn refuse_head(&mut self, refusal: Refusal) {
        let metrics = &self.door.metrics().http;
        metrics.refusals.count();
        let class = StatusClass::of(refusal.status.code());
        let labels = (Route::Unknown, Verb::Other, class);
        metrics.requests.of(labels).count();
        let request_id = self.door.next_request_id();
        tracing::debug!(%request_id, peer = %self.wire.peer(), %refusal, "refused a request head");
        let (head, body) = refusal_answer(refusal);
        let date = self.door.date_line();
        let common = [
            &*date,
            "X-Content-Type-Options: nosniff\r\nX-Request-Id: ",
            request_id.as_str(),
            "\r\nConnection: close\r\n",
        ];
        head.with_length(to_u64(body.len()))
            .encode(&common, &mut self.unsent);
        self.unsent.extend_from_slice(&body);
        // Nobody is told when it cannot be sent: there is nobody.
        let _ = self.flush().await;
    }

    /// Counts and logs the request that was just answered.
    fn report(&mut self) {
        let (received_bytes, sent_bytes) = self.wire.take_counts();
        let metrics = &self.door.metrics().http;
        metrics.received_bytes.add(received_bytes);
        metrics.sent_bytes.add(sent_bytes);
        let Some(request) = self.request.take() else {
            return;
        };
        let elapsed = self.door.now() - request.begun;
        metrics.request_seconds.of(request.route).observe(elapsed);
        let status = self.answer.status().map_or(0, Status::code);
        let verb = verb_of(request.head.method());
        if status > 0 {
            let labels = (request.route, verb, StatusClass::of(status));
            metrics.requests.of(labels).count();
        }
        tracing::info!(
            target: "windlass::access",
            request_id = %request.id,
            peer = %self.wire.peer(),
            client = %request.client,
            certificate = self.client_name(),
            method = request.head.method().as_str(),
            path = bounded(request.head.path()),
            status,
            received_bytes,
            sent_bytes,
            microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
    }

    pub(super) fn count_timeout(&self, phase: TimeoutPhase) {
        self.door.metrics().http.timeouts.of(phase).count();
    }
}

/// Longest path in a log line, in bytes.
const LOGGED_PATH_BYTES_MAX: usize = 512;

/// The front of a path; paths are ASCII.
fn bounded(path: &str) -> &str {
    path.get(..LOGGED_PATH_BYTES_MAX).unwrap_or(path)
}

const fn verb_of(method: Method) -> Verb {
    match method {
        Method::Get => Verb::Get,
        Method::Head => Verb::Head,
        Method::Post => Verb::Post,
        Method::Put => Verb::Put,
        Method::Patch => Verb::Patch,
        Method::Delete => Verb::Delete,
    }
}

/// What a refusal is answered with: its reason, as text.
fn refusal_answer(refusal: Refusal) -> (ResponseHead, Vec<u8>) {
    let mut head = ResponseHead::new(refusal.status).with("Content-Type", "text/plain");
    if refusal.status == Status::METHOD_NOT_ALLOWED {
        head = head.with("Allow", Method::ALLOWED);
    }
    (head, format!("{}\n", refusal.reason).into_bytes())
}
