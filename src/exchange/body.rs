//! Reading the body of a request.

use std::time::Duration;

use crate::base::limits::CHUNKED_RECEIVE_BYTES_MAX;
use crate::base::units::{index_of, to_u64, to_usize};
use crate::http::{CONTINUE, Refusal, Status};

use super::deadline::Elapsed;
use super::error::{BodyError, Closed};
use super::request::Exchange;
use super::wire::Received;

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
        loop {
            let patience = self.pace.patience();
            let before = self.door.deadlines().coarse_now();
            let received = self.wire.receive(into, patience).await;
            let waited = self.door.deadlines().coarse_now() - before;
            match received {
                Ok(Received::End) => return Err(Closed::Gone),
                Ok(Received::Bytes(count)) => {
                    self.judge_pace(waited, to_u64(count))?;
                    return Ok(count);
                }
                // The window has passed: judge what came in it.
                Err(Elapsed) => self.judge_pace(waited.max(patience), 0)?,
            }
        }
    }

    fn judge_pace(&mut self, waited: Duration, bytes: u64) -> Result<(), Closed> {
        if self.pace.keeps_up(waited, bytes) {
            return Ok(());
        }
        Err(self.refuse_body(Refusal::new(
            Status::REQUEST_TIMEOUT,
            "The body comes too slowly.",
        )))
    }

    fn refuse_body(&mut self, refusal: Refusal) -> Closed {
        self.refusal = Some(refusal);
        refusal.into()
    }
}
