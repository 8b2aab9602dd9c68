//! Where records of TLS begin and end in a stream of bytes. Pure.

use crate::base::units::to_usize;

/// Type, version and length.
const HEADER_BYTES: usize = 5;

/// Follows one direction of a connection, from its first byte on.
#[derive(Debug, Default)]
pub(super) struct RecordMeter {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Of the record whose header is known.
    left_bytes: usize,
}

impl RecordMeter {
    /// The most that may come next without the beginning of another record; never 0.
    pub(super) const fn bytes_max(&self) -> usize {
        if self.left_bytes > 0 {
            self.left_bytes
        } else {
            HEADER_BYTES - self.header_bytes
        }
    }

    /// Whether everything so far was whole records.
    pub(super) const fn is_between(&self) -> bool {
        self.left_bytes == 0 && self.header_bytes == 0
    }

    /// Takes in what came.
    ///
    /// - Panics: with more than [`RecordMeter::bytes_max`].
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.bytes_max(), "one record at a time");
        if self.left_bytes > 0 {
            self.left_bytes -= bytes.len();
            return;
        }
        for byte in bytes {
            if let Some(place) = self.header.get_mut(self.header_bytes) {
                *place = *byte;
            }
            self.header_bytes += 1;
        }
        if let (HEADER_BYTES, [_, _, _, high, low]) = (self.header_bytes, self.header) {
            self.left_bytes = to_usize(u32::from(u16::from_be_bytes([high, low])));
            self.header_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a body of so many bytes.
    fn record(body_bytes: u16) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend(body_bytes.to_be_bytes());
        record.resize(5 + usize::from(body_bytes), 0xaa);
        record
    }

    #[test]
    fn records_end_where_their_headers_say_however_they_come() {
        let lengths = [3, 0, 1, 300, 0, 16_640];
        for step in [1, 2, 3, 5, 7, 100, usize::MAX] {
            let mut meter = RecordMeter::default();
            for length in lengths {
                let record = record(length);
                let mut rest = record.as_slice();
                while !rest.is_empty() {
                    let count = meter.bytes_max().min(step).min(rest.len());
                    meter.pass(&rest[..count]);
                    rest = &rest[count..];
                    assert_eq!(meter.is_between(), rest.is_empty(), "{length} by {step}");
                }
            }
        }
    }
}
