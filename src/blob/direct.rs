//! Reads of one file, straight from the device, a few ahead of the reader.

use std::collections::VecDeque;

use crate::base::limits::{IN_FLIGHT_MOVES_MAX, MOVE_BYTES_MAX};
use crate::base::units::{index_of, to_u32};
use crate::disk::{self, Pending, Piece, ReadFile, read_span_bytes};
use crate::memory::{Permit, Pool};

/// Reads under way, in order. The first of them may wait for memory; the ones
/// ahead of it only try, so that readers never wait for each other in a circle.
pub(super) struct Direct {
    file: ReadFile,
    pool: Pool,
    /// Where the next read to start begins.
    next_offset: u64,
    queue: VecDeque<Pending<Piece>>,
}

impl Direct {
    /// Starts at `offset`.
    pub(super) const fn new(file: ReadFile, pool: Pool, offset: u64) -> Self {
        Self {
            file,
            pool,
            next_offset: offset,
            queue: VecDeque::new(),
        }
    }

    /// Forgets what is under way and goes on at `offset`.
    pub(super) fn seek(&mut self, offset: u64) {
        self.queue.clear();
        self.next_offset = offset;
    }

    /// Reads under way.
    pub(super) fn ahead(&self) -> usize {
        self.queue.len()
    }

    /// The next bytes before `end`, after starting reads up to `ahead_end`.
    ///
    /// - Shape: there are bytes before `end`; at most `MOVE_BYTES_MAX` come.
    /// - Cancel: the piece stays next.
    pub(super) async fn next(&mut self, end: u64, ahead_end: u64) -> Result<Piece, disk::Error> {
        if self.queue.is_empty() {
            let bytes = self.step_bytes(end);
            let permit = self.pool.reserve(self.span_bytes(bytes)).await;
            self.start(bytes, permit);
        }
        while self.queue.len() < IN_FLIGHT_MOVES_MAX && self.next_offset < ahead_end {
            let bytes = self.step_bytes(ahead_end);
            let Some(permit) = self.pool.try_reserve(self.span_bytes(bytes)) else {
                break;
            };
            self.start(bytes, permit);
        }
        let first = self.queue.front_mut();
        let piece = first
            .expect("invariant: at least one read was started")
            .await;
        drop(self.queue.pop_front());
        piece
    }

    fn start(&mut self, bytes: u32, permit: Permit) {
        self.queue
            .push_back(self.file.read_at(self.next_offset, bytes, permit));
        self.next_offset += u64::from(bytes);
    }

    fn span_bytes(&self, bytes: u32) -> u32 {
        to_u32(index_of(read_span_bytes(self.next_offset, bytes)))
    }

    /// Length of the read at `next_offset`: up to a boundary of `MOVE_BYTES_MAX`,
    /// so that all but the first and the last read are whole and aligned.
    fn step_bytes(&self, end: u64) -> u32 {
        let move_bytes = u64::from(MOVE_BYTES_MAX);
        let boundary = (self.next_offset / move_bytes + 1) * move_bytes;
        let bytes = boundary.min(end).saturating_sub(self.next_offset);
        u32::try_from(bytes).unwrap_or(MOVE_BYTES_MAX)
    }
}
