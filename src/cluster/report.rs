//! What each node says about itself, for whoever asks for the state of the cluster.
//!
//! ```text
//! report  u8 version = 1 | text build | u64 applied index | u64 blobs missing
//!           | u64 bytes free | u64 bytes of the disk
//! ```

use bytes::Bytes;

use crate::base::{CodecError, Reader, Writer};

const REPORT_VERSION: u8 = 1;

/// A node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Version of its program.
    pub build: String,
    /// Index of the last entry it has applied.
    pub applied_index: u64,
    /// Blobs that it should hold and lacks.
    pub blobs_missing: u64,
    /// Bytes free on its disk.
    pub free_bytes: u64,
    /// Bytes of its disk.
    pub disk_bytes: u64,
}

impl Report {
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(REPORT_VERSION).text(&self.build);
        writer.u64(self.applied_index).u64(self.blobs_missing);
        writer.u64(self.free_bytes).u64(self.disk_bytes);
        writer.finish().into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(payload);
        let version = reader.u8()?;
        if version != REPORT_VERSION {
            return Err(CodecError::Version {
                record: "report",
                version,
            });
        }
        let report = Self {
            build: reader.text("build")?.to_owned(),
            applied_index: reader.u64()?,
            blobs_missing: reader.u64()?,
            free_bytes: reader.u64()?,
            disk_bytes: reader.u64()?,
        };
        reader.end()?;
        Ok(report)
    }
}

/// The frozen bytes of a message: one `name hex` line each; a changed line is a node of
/// another version that misunderstands this one.
#[cfg(test)]
pub(super) fn golden(name: &str) -> Bytes {
    let lines = include_str!("../../tests/fixtures/cluster/messages_v1.txt").lines();
    let mut lines = lines.filter_map(|line| line.strip_prefix(name));
    let hex = lines.next().expect("it is frozen").as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("text");
        u8::from_str_radix(pair, 16).expect("hex")
    };
    hex.chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_and_a_cut_one_is_refused() {
        let report = Report {
            build: "0.1.0".to_owned(),
            applied_index: 1,
            blobs_missing: 3,
            free_bytes: 4,
            disk_bytes: 5,
        };
        let bytes = report.encode();
        assert_eq!(bytes, golden("report "));
        assert_eq!(Report::decode(&bytes), Ok(report));
        for end in 0..bytes.len() {
            assert!(Report::decode(&bytes[..end]).is_err());
        }
    }
}
