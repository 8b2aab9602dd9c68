//! What nodes say to each other in calls of the blob service.
//!
//! ```text
//! call      u8 version = 1 | u8 operation (1 hold) | fields
//! hold      u64 origin | digest | u64 generation | u64 size
//!             | u32 length in bytes, u32 per extent: CRC32
//! answer    u8 version = 1; that there is one says all
//! ```
//! All numbers are little-endian. The answer to a hold comes when the copy is durable.

use bytes::Bytes;

use crate::base::{CodecError, Reader, Writer};
use crate::blob::Expected;
use crate::oci::Digest;

const CALL_VERSION: u8 = 1;
const CALL: &str = "blob call";
const HOLD_TAG: u8 = 1;
/// In place of the node that has it: whoever fetches asks those that the state names, or
/// everybody.
pub(super) const NOBODY_ID: u64 = 0;

/// Asks a node to fetch a blob that is being pushed, and to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    /// The node that has it, or `NOBODY_ID`.
    pub(super) origin: u64,
    /// The blob.
    pub(super) expected: Expected,
}

impl Hold {
    pub(super) fn encode(&self) -> Bytes {
        let expected = &self.expected;
        let list_bytes = expected.extent_checksums.len() * 4;
        let mut checksums = Writer::with_capacity(list_bytes);
        for checksum in expected.extent_checksums.iter() {
            checksums.u32(*checksum);
        }
        let mut writer = Writer::with_capacity(128 + list_bytes);
        writer.u8(CALL_VERSION).u8(HOLD_TAG).u64(self.origin);
        expected.digest.encode(&mut writer);
        writer
            .u64(expected.generation)
            .u64(expected.size_bytes)
            .bytes(checksums.as_slice());
        writer.finish().into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = opened(payload)?;
        if reader.u8()? != HOLD_TAG {
            return Err(CodecError::Invalid { field: "operation" });
        }
        let origin = reader.u64()?;
        let digest = Digest::decode(&mut reader)?;
        let (generation, size_bytes) = (reader.u64()?, reader.u64()?);
        let (words, rest) = reader.bytes()?.as_chunks::<4>();
        reader.end()?;
        let checksums = words.iter().map(|word| u32::from_le_bytes(*word));
        let expected = Expected {
            digest,
            generation,
            size_bytes,
            extent_checksums: checksums.collect(),
        };
        if !rest.is_empty() || !expected.is_consistent() {
            return Err(CodecError::Invalid { field: "extents" });
        }
        Ok(Self { origin, expected })
    }
}

/// The answer: it is done.
pub(super) fn encode_done() -> Bytes {
    Bytes::from_static(&[CALL_VERSION])
}

/// Reads the answer.
pub(super) fn decode_done(answer: &[u8]) -> Result<(), CodecError> {
    opened(answer)?.end()
}

fn opened(message: &[u8]) -> Result<Reader<'_>, CodecError> {
    let mut reader = Reader::new(message);
    match reader.u8()? {
        CALL_VERSION => Ok(reader),
        version => Err(CodecError::Version {
            record: CALL,
            version,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::EXTENT_BYTES;
    use crate::oci::Algorithm;
    use proptest::prelude::*;

    fn hold(algorithm: Algorithm, extents: u32) -> Hold {
        Hold {
            origin: 0x0102_0304,
            expected: Expected {
                digest: Digest::of(algorithm, b"content"),
                generation: 5,
                size_bytes: u64::from(extents) * u64::from(EXTENT_BYTES) - 1,
                extent_checksums: (0..extents).map(|index| index * 0x0101).collect(),
            },
        }
    }

    #[test]
    fn a_hold_reads_back_and_what_does_not_fit_is_refused() {
        for algorithm in Algorithm::ALL {
            let hold = hold(algorithm, 3);
            let payload = hold.encode();
            assert_eq!(Hold::decode(&payload), Ok(hold));
            for end in 0..payload.len() {
                assert!(Hold::decode(&payload[..end]).is_err(), "cut at {end}");
            }
            assert!(Hold::decode(&[&payload[..], &[0]].concat()).is_err());
        }
        let mut odd = hold(Algorithm::Sha256, 3);
        odd.expected.size_bytes += 2;
        assert!(Hold::decode(&odd.encode()).is_err());
        assert_eq!(decode_done(&encode_done()), Ok(()));
        assert!(decode_done(&[]).is_err());
        let mut newer = hold(Algorithm::Sha256, 3).encode().to_vec();
        newer[0] += 1;
        for error in [Hold::decode(&newer).map(drop), decode_done(&[2])] {
            assert!(matches!(error, Err(CodecError::Version { version: 2, .. })));
        }
    }

    #[test]
    fn the_golden_hold_is_what_is_written() {
        let golden = include_str!("../../tests/fixtures/replication/calls_v1.txt");
        let hex = |bytes: &[u8]| {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        };
        let written = format!(
            "hold {}\ndone {}\n",
            hex(&hold(Algorithm::Sha256, 3).encode()),
            hex(&encode_done()),
        );
        assert_eq!(written, golden, "the format has changed");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hold_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Hold::decode(&bytes));
            let named = [&[CALL_VERSION, HOLD_TAG][..], &bytes].concat();
            drop(Hold::decode(&named));
        }
    }
}
