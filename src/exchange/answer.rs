//! Answering a request.

use std::os::fd::AsFd;

use crate::base::units::to_u64;
use crate::http::{Method, Persistence, ResponseHead, Status};

use super::error::Closed;
use super::request::{Answer, Exchange};

/// A body up to this size is copied behind its head, so that both leave in one
/// send; a larger one goes out of the caller's memory.
const JOINED_BODY_BYTES_MAX: usize = 16 * 1024;

impl Exchange {
    /// Answers with a body that is in memory. HEAD gets the head alone, with the
    /// length of `body` or the one that `head` states.
    ///
    /// - Panics: when an answer has begun.
    pub async fn respond(&mut self, head: ResponseHead, body: &[u8]) -> Result<(), Closed> {
        let head = match head.length_bytes() {
            Some(_) if self.is_to_head() => head,
            _ => head.with_length(to_u64(body.len())),
        };
        self.put_head(&head);
        if matches!(self.answer, Answer::Body { .. }) {
            self.write(body).await
        } else {
            self.flush().await
        }
    }

    /// Begins an answer whose body follows by [`Self::write`],
    /// [`Self::write_some_or_stall`] and [`Self::send_file`], in the length that
    /// `head` states. HEAD is complete with that.
    ///
    /// - Panics: when an answer has begun, or `head` states no length.
    pub async fn begin(&mut self, head: ResponseHead) -> Result<(), Closed> {
        assert!(
            head.length_bytes().is_some() || head.status().is_bodiless(),
            "an answer that streams states its length"
        );
        self.put_head(&head);
        if matches!(self.answer, Answer::Complete { .. }) {
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether the answer has no body because of the method: what the handler
    /// would write after [`Self::begin`] is not wanted.
    #[must_use]
    pub fn is_to_head(&self) -> bool {
        self.head().method() == Method::Head
    }

    /// Writes body bytes.
    ///
    /// - Errors: the client is gone, or took nothing for the stall timeout.
    /// - Panics: with more bytes than the head stated.
    /// - Cancel: part of the bytes may be out; the connection must be dropped.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        self.count_body(to_u64(bytes.len()));
        let stall = self.door.options().write_stall_timeout;
        if bytes.len() <= JOINED_BODY_BYTES_MAX && !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return self.flush().await;
        }
        self.flush().await?;
        self.wire.send(bytes, stall).await
    }

    /// Writes body bytes until the client takes none for a moment, and says how
    /// many it took: less than all means that the caller should give its pooled
    /// buffer back, and later [`Self::write`] a small piece, which waits.
    ///
    /// - Errors, Panics, Cancel: as [`Self::write`].
    pub async fn write_some_or_stall(&mut self, bytes: &[u8]) -> Result<usize, Closed> {
        self.flush().await?;
        let stall = self.door.options().write_stall_give_back;
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.wire.send_some(rest, stall).await? {
                Some(count) => written += count,
                None => break,
            }
        }
        self.count_body(to_u64(written));
        Ok(written)
    }

    /// Writes a run of a file whose pages are in memory, without copying it.
    ///
    /// - Errors, Panics, Cancel: as [`Self::write`]; a file that ends early is
    ///   cut off like a client that is gone.
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
    ) -> Result<(), Closed> {
        self.count_body(bytes);
        self.flush().await?;
        let stall = self.door.options().write_stall_timeout;
        self.wire.send_file(file, offset, bytes, stall).await
    }

    /// Encodes the head; decides what it says about the connection.
    pub(super) fn put_head(&mut self, head: &ResponseHead) {
        assert_eq!(self.answer, Answer::Due, "a request has one answer");
        let is_last = self.door.is_shutting_down() || self.wire.is_worn();
        let wants_close = self.refusal.is_some() || is_last;
        let connection = match self.connection.answer(wants_close) {
            Persistence::KeepAlive => "",
            Persistence::Close => "Connection: close\r\n",
        };
        let status = head.status();
        let is_bodiless = status.is_bodiless() || self.is_to_head();
        self.answer = match head.length_bytes().unwrap_or_default() {
            left_bytes if left_bytes > 0 && !is_bodiless => Answer::Body { status, left_bytes },
            _ => Answer::Complete { status },
        };
        let date = self.door.date_line();
        let request = self.request.as_ref();
        let common = [
            &*date,
            "X-Content-Type-Options: nosniff\r\nX-Request-Id: ",
            request.map_or("-", |request| request.id.as_str()),
            "\r\n",
            connection,
        ];
        head.encode(&common, &mut self.unsent);
    }

    /// Sends what is encoded and unsent, and what is written and waits.
    pub(super) async fn finish_answer(&mut self) -> Result<(), Closed> {
        self.flush().await?;
        self.wire
            .flush(self.door.options().write_stall_timeout)
            .await
    }

    /// Sends what is encoded and unsent.
    pub(super) async fn flush(&mut self) -> Result<(), Closed> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let stall = self.door.options().write_stall_timeout;
        let sent = self.wire.send(&self.unsent, stall).await;
        self.unsent.clear();
        sent
    }

    fn count_body(&mut self, bytes: u64) {
        let (status, left_bytes) = match self.answer {
            Answer::Due => (Status::OK, 0),
            Answer::Complete { status } => (status, 0),
            Answer::Body { status, left_bytes } => (status, left_bytes),
        };
        assert!(
            bytes <= left_bytes,
            "no more is written than the head stated"
        );
        if left_bytes > bytes {
            let left_bytes = left_bytes - bytes;
            self.answer = Answer::Body { status, left_bytes };
        } else if left_bytes > 0 {
            self.answer = Answer::Complete { status };
        }
    }
}
