//! Bytes that have come and belong to no body yet: heads, and what was received
//! with the end of a body.

use crate::base::limits::HEAD_BYTES_MAX;
use crate::base::units::to_usize;

/// First size: a usual head fits, and idle connections stay small.
const FIRST_BYTES: usize = 4096;
/// Above this the space is given back once it is empty.
const KEPT_BYTES_MAX: usize = 4 * FIRST_BYTES;

/// A run of received bytes with space behind it.
///
/// It grows to the largest head, and to what one receive into a caller's buffer
/// may have taken too much.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    space: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// The bytes received and not taken.
    pub(super) fn bytes(&self) -> &[u8] {
        self.space.get(self.start..self.end).unwrap_or_default()
    }

    /// As [`Self::bytes`], to decode in place.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.space.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Space to receive into, never empty; [`Self::filled`] says how much was used.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if self.space.len() > KEPT_BYTES_MAX {
                self.space = Vec::new();
            }
        }
        if self.end == self.space.len() {
            self.make_space(FIRST_BYTES);
        }
        self.space.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes over `count` bytes that were received into the space.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.space.len(), "only the space can be filled");
    }

    /// Drops bytes off the front.
    pub(super) fn take(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "only received bytes can be taken");
    }

    /// Drops everything.
    pub(super) const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Moves up to `into.len()` bytes off the front into `into`, and says how many.
    pub(super) fn move_into(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.end - self.start);
        if let (Some(into), Some(from)) = (into.get_mut(..count), self.bytes().get(..count)) {
            into.copy_from_slice(from);
        }
        self.start += count;
        count
    }

    /// Takes back the last bytes that left, or takes in bytes that were received
    /// elsewhere while nothing was held.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.is_empty() {
            self.append(bytes);
        } else {
            assert!(
                bytes.len() <= self.start,
                "only moved bytes can be put back"
            );
            self.start -= bytes.len();
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.make_space(bytes.len());
        if let Some(space) = self.space.get_mut(self.end..self.end + bytes.len()) {
            space.copy_from_slice(bytes);
        }
        self.filled(bytes.len());
    }

    /// Moves the bytes to the front and grows by doubling.
    fn make_space(&mut self, wanted_bytes: usize) {
        self.space.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.space.len() - self.end < wanted_bytes {
            let doubled = (2 * self.space.len()).min(to_usize(HEAD_BYTES_MAX) + FIRST_BYTES);
            let bytes = doubled.max(self.end + wanted_bytes);
            self.space.resize(bytes, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut ReceiveBuffer, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut buffer = ReceiveBuffer::default();
        fill(&mut buffer, b"headbody");
        buffer.take(4);
        let mut into = [0; 3];
        assert_eq!(buffer.move_into(&mut into), 3);
        assert_eq!(&into, b"bod");
        buffer.put_back(b"d");
        assert_eq!(buffer.bytes(), b"dy");
        buffer.take(2);
        assert!(buffer.is_empty());
    }

    #[test]
    fn it_grows_for_a_large_head_and_shrinks_when_empty() {
        let mut buffer = ReceiveBuffer::default();
        let mut count = 0;
        while count < to_usize(HEAD_BYTES_MAX) {
            let space_bytes = buffer.space().len();
            assert!(space_bytes > 0);
            buffer.filled(space_bytes);
            count += space_bytes;
        }
        assert_eq!(buffer.bytes().len(), count);
        buffer.take(count);
        assert_eq!(buffer.space().len(), FIRST_BYTES);
    }

    #[test]
    fn what_one_receive_took_too_much_always_fits() {
        let mut buffer = ReceiveBuffer::default();
        let bytes = vec![7; 128 * 1024];
        buffer.put_back(&bytes);
        assert_eq!(buffer.bytes(), bytes);
    }
}
