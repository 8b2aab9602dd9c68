//! Reading the body of a request.

use crate::base::limits::CHUNKED_RECEIVE_BYTES_MAX;
use crate::base::units::{index_of, to_u64, to_usize};
use crate::http::{CONTINUE, Refusal, Status};
use crate::telemetry::TimeoutPhase;

use super::deadline::Elapsed;
use super::door::Door;
use super::error::{BodyError, Closed};
use super::pace::Pace;
use super::request::Exchange;
use super::wire::{Received, Wire};

/// First size of a body collected in memory whose length is not announced.
const COLLECT_BYTES_MIN: usize = 16 * 1024;

impl Exchange {
    /// Reads body bytes into the front of `into` and says how many; 0 at the end.
    ///
    /// They are received straight into `into`, and chunks are unwrapped there:
    /// the socket's copy is the only one. The first call asks a client that waits
    /// for it to send the body.
    ///
    /// - Errors: the body has no rest to be had; return the error, the driver answers.
    /// - Panics: when `into` is empty, or the request has been answered.
    /// - Cancel: bytes received are lost; the connection must be dropped.
    pub async fn read_body(&mut self, into: &mut [u8]) -> Result<usize, Closed> {
        assert!(!into.is_empty(), "a body is read into some space");
        if let Some(refusal) = self.refusal {
            return Err(refusal.into());
        }
        if self.connection.body().is_end() {
            return Ok(0);
        }
        if self.connection.take_continue() {
            let stall = self.door.options().write_stall_timeout;
            self.wire.send(CONTINUE, stall).await?;
        }
        loop {
            let count = if self.received.is_empty() {
                self.receive_body(into).await?
            } else {
                self.received.move_into(into)
            };
            let bytes = into.get_mut(..count).unwrap_or_default();
            let decoded = self.connection.decode(bytes);
            let decoded = decoded.map_err(|refusal| self.refuse_body(refusal))?;
            // Bytes of the next request; either all or none of them came from `received`.
            let next = bytes.get(decoded.consumed..).unwrap_or_default();
            self.received.put_back(next);
            if decoded.produced > 0 || decoded.is_end {
                return Ok(decoded.produced);
            }
        }
    }

    /// Reads the whole body into memory.
    ///
    /// - Errors: `TooLarge` before anything is read when the announced length is
    ///   more than `bytes_max`, and while reading otherwise.
    pub async fn read_body_to_vec(&mut self, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
        let too_large = BodyError::TooLarge { bytes_max };
        let announced = self.connection.body().raw_remaining();
        if announced.is_some_and(|bytes| bytes > to_u64(bytes_max)) {
            return Err(too_large);
        }
        let mut body = vec![0; announced.map_or(COLLECT_BYTES_MIN, index_of)];
        let mut filled = 0;
        loop {
            if filled == body.len() {
                if self.connection.body().is_end() {
                    break;
                }
                // One byte more than allowed tells a body that ends from one that goes on.
                body.resize((2 * filled).max(COLLECT_BYTES_MIN).min(bytes_max + 1), 0);
            }
            let space = body.get_mut(filled..).unwrap_or_default();
            match self.read_body(space).await? {
                0 => break,
                count => filled += count,
            }
            if filled > bytes_max {
                return Err(too_large);
            }
        }
        body.truncate(filled);
        Ok(body)
    }

    /// Receives raw body bytes: of a known length no byte more than belongs to
    /// it, of chunks what is there, up to a bound.
    async fn receive_body(&mut self, into: &mut [u8]) -> Result<usize, Closed> {
        let bytes_max = match self.connection.body().raw_remaining() {
            Some(left_bytes) => index_of(left_bytes),
            None => to_usize(CHUNKED_RECEIVE_BYTES_MAX),
        };
        let into_bytes = into.len().min(bytes_max);
        let into = into.get_mut(..into_bytes).unwrap_or_default();
        let received = receive_at_pace(&self.door, &mut self.wire, &mut self.pace, into).await;
        match received {
            Ok(Received::Bytes(count)) => Ok(count),
            Ok(Received::End) => Err(Closed::Gone),
            Err(Elapsed) => {
                self.count_timeout(TimeoutPhase::Body);
                Err(self.refuse_body(Refusal::new(
                    Status::REQUEST_TIMEOUT,
                    "The body comes too slowly.",
                )))
            }
        }
    }

    /// Receives bytes of a body that nobody wants; false when no more will come.
    pub(super) async fn receive_unwanted(&mut self) -> bool {
        let space = self.received.space();
        let received = receive_at_pace(&self.door, &mut self.wire, &mut self.pace, space).await;
        let Ok(Received::Bytes(count)) = received else {
            return false;
        };
        self.received.filled(count);
        true
    }

    fn refuse_body(&mut self, refusal: Refusal) -> Closed {
        self.refusal = Some(refusal);
        refusal.into()
    }
}

/// Receives what is there, waiting as long as the client keeps its rate.
async fn receive_at_pace(
    door: &Door,
    wire: &mut Wire,
    pace: &mut Pace,
    into: &mut [u8],
) -> Result<Received, Elapsed> {
    loop {
        let patience = pace.patience();
        let before = door.deadlines().coarse_now();
        let received = wire.receive(into, patience).await;
        let waited = door.deadlines().coarse_now() - before;
        let (waited, bytes) = match received {
            Ok(Received::Bytes(count)) => (waited, to_u64(count)),
            Ok(Received::End) => return received,
            // The window has passed: what came in it is judged.
            Err(Elapsed) => (waited.max(patience), 0),
        };
        if !pace.keeps_up(waited, bytes) {
            return Err(Elapsed);
        }
        if received.is_ok() {
            return received;
        }
    }
}
