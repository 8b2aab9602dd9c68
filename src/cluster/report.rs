//! What each node says about itself, for whoever asks for the state of the cluster.
//! The question names the newest version that its asker reads; nothing in it stands
//! for version 1. The answer is the newest that both know.
//!
//! ```text
//! question  u8 version
//! report    u8 version | text build | u64 applied index | u64 blobs missing
//!             | u64 bytes free | u64 bytes of the disk
//!             | from version 2 on: consensus | copies
//!             | from version 3 on: u64 blobs unsaid
//! consensus u64 term | u64 leader, 0 for nobody | u64 last index | u64 committed index
//!             | u64 elections | u64 leader changes
//!             | u64 proposals | u64 p50 us | u64 p99 us | u64 mean us
//! copies    u8 1 when all missing blobs are known | u64 blobs queued
//!             | u64 blobs being fetched | u32 count of peers | peers
//! peer      u64 node, 0 for others | u64 bytes received | u64 bytes received per second
//!             | u64 bytes sent | u64 bytes sent per second | u64 fetches that failed
//! ```

use bytes::Bytes;

use crate::base::tomorrow;
use crate::base::units::to_u32;
use crate::base::{CodecError, Reader, Writer};
use crate::telemetry::PeerCopies;

/// The first version, which says nothing of consensus and copies.
const PLAIN_VERSION: u8 = 1;
/// The first version that says what is not written down yet.
const UNSAID_VERSION: u8 = 3;
/// The newest version of this build.
const REPORT_VERSION: u8 = 3;

/// The newest version that this process reads and writes.
fn newest_version() -> u8 {
    REPORT_VERSION + u8::from(tomorrow::is_on())
}

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
    /// What an older node does not say.
    pub activity: Option<Activity>,
    /// News of its blobs that are not written down yet; an older node does not say.
    pub unsaid: Option<u64>,
    /// What the version after this one says beside; see `base::tomorrow`.
    #[cfg(feature = "mutants")]
    pub remarks: Option<u64>,
}

/// What a node does beside holding what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activity {
    /// Consensus, as it sees it.
    pub consensus: Consensus,
    /// Its copies of blobs.
    pub copies: Copies,
}

/// Consensus as one node sees it; what is counted is counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consensus {
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Index of the last entry of its log.
    pub last_index: u64,
    /// Index of the last entry that it knows to be committed.
    pub committed_index: u64,
    /// Terms in which it stood for election.
    pub elections: u64,
    /// Leaders that it came to know of.
    pub leader_changes: u64,
    /// How long proposals took.
    pub proposals: Proposals,
}

/// How long the proposals of a node took, from a shard to their outcome there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proposals {
    /// How many ended.
    pub count: u64,
    /// Half of them took no longer, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The mean.
    pub mean_us: u64,
}

/// What a node does for its copies of blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copies {
    /// Whether it has found all that it lacks; while it looks it lacks at least what it
    /// says.
    pub is_surveyed: bool,
    /// Blobs that wait to be fetched.
    pub queued: u64,
    /// Blobs being fetched.
    pub fetching: u64,
    /// What went between it and each other node, since it started.
    pub peers: Vec<PeerCopies>,
}

impl Report {
    /// What to ask a node that may be older.
    pub(super) fn question() -> Bytes {
        Bytes::copy_from_slice(&[newest_version()])
    }

    /// The answer to such a question.
    pub(super) fn answer(&self, question: &[u8]) -> Bytes {
        let asked = question.first().copied().unwrap_or(PLAIN_VERSION);
        self.encode(asked.clamp(PLAIN_VERSION, newest_version()))
    }

    fn encode(&self, version: u8) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(version).text(&self.build);
        writer.u64(self.applied_index).u64(self.blobs_missing);
        writer.u64(self.free_bytes).u64(self.disk_bytes);
        if version > PLAIN_VERSION {
            // A node says all of it or nothing.
            let activity = self.activity.clone().unwrap_or_default();
            activity.consensus.encode(&mut writer);
            activity.copies.encode(&mut writer);
        }
        if version >= UNSAID_VERSION {
            writer.u64(self.unsaid.unwrap_or_default());
        }
        #[cfg(feature = "mutants")]
        if version > REPORT_VERSION {
            writer.u64(self.remarks.unwrap_or_default());
        }
        writer.finish().into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(payload);
        let version = reader.u8()?;
        if !(PLAIN_VERSION..=newest_version()).contains(&version) {
            return Err(CodecError::Version {
                record: "report",
                version,
            });
        }
        let mut report = Self {
            build: reader.text("build")?.to_owned(),
            applied_index: reader.u64()?,
            blobs_missing: reader.u64()?,
            free_bytes: reader.u64()?,
            disk_bytes: reader.u64()?,
            activity: None,
            unsaid: None,
            #[cfg(feature = "mutants")]
            remarks: None,
        };
        if version > PLAIN_VERSION {
            report.activity = Some(Activity {
                consensus: Consensus::decode(&mut reader)?,
                copies: Copies::decode(&mut reader)?,
            });
        }
        if version >= UNSAID_VERSION {
            report.unsaid = Some(reader.u64()?);
        }
        #[cfg(feature = "mutants")]
        if version > REPORT_VERSION {
            report.remarks = Some(reader.u64()?);
        }
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

impl Consensus {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.term).u64(self.leader.unwrap_or_default());
        writer.u64(self.last_index).u64(self.committed_index);
        writer.u64(self.elections).u64(self.leader_changes);
        let proposals = &self.proposals;
        writer.u64(proposals.count).u64(proposals.p50_us);
        writer.u64(proposals.p99_us).u64(proposals.mean_us);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            term: reader.u64()?,
            leader: Some(reader.u64()?).filter(|leader| *leader != 0),
            last_index: reader.u64()?,
            committed_index: reader.u64()?,
            elections: reader.u64()?,
            leader_changes: reader.u64()?,
            proposals: Proposals {
                count: reader.u64()?,
                p50_us: reader.u64()?,
                p99_us: reader.u64()?,
                mean_us: reader.u64()?,
            },
        })
    }
}

impl Copies {
    /// Whether it has asked others for blobs, and none of them comes now.
    pub(super) fn are_in_vain(&self) -> bool {
        let is_still = self.peers.iter().all(|peer| peer.received_rate == 0);
        let has_failed = self.peers.iter().any(|peer| peer.failures > 0);
        self.fetching == 0 && is_still && has_failed
    }

    fn encode(&self, writer: &mut Writer) {
        writer.u8(u8::from(self.is_surveyed));
        writer.u64(self.queued).u64(self.fetching);
        writer.u32(to_u32(self.peers.len()));
        for peer in &self.peers {
            writer.u64(peer.node);
            writer.u64(peer.received_bytes).u64(peer.received_rate);
            writer.u64(peer.sent_bytes).u64(peer.sent_rate);
            writer.u64(peer.failures);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let is_surveyed = reader.u8()? == 1;
        let (queued, fetching) = (reader.u64()?, reader.u64()?);
        let count = reader.u32()?;
        // Room is made as they come: a count alone takes none.
        let mut peers = Vec::new();
        for _ in 0..count {
            peers.push(PeerCopies {
                node: reader.u64()?,
                received_bytes: reader.u64()?,
                received_rate: reader.u64()?,
                sent_bytes: reader.u64()?,
                sent_rate: reader.u64()?,
                failures: reader.u64()?,
            });
        }
        Ok(Self {
            is_surveyed,
            queued,
            fetching,
            peers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let peer = |node| PeerCopies {
            node,
            received_bytes: 16,
            received_rate: 17,
            sent_bytes: 18,
            sent_rate: 19,
            failures: 20,
        };
        Report {
            build: "0.1.0".to_owned(),
            applied_index: 1,
            blobs_missing: 3,
            free_bytes: 4,
            disk_bytes: 5,
            activity: Some(Activity {
                consensus: Consensus {
                    term: 6,
                    leader: Some(7),
                    last_index: 8,
                    committed_index: 9,
                    elections: 10,
                    leader_changes: 11,
                    proposals: Proposals {
                        count: 12,
                        p50_us: 13,
                        p99_us: 14,
                        mean_us: 15,
                    },
                },
                copies: Copies {
                    is_surveyed: true,
                    queued: 21,
                    fetching: 22,
                    peers: vec![peer(2), peer(0)],
                },
            }),
            unsaid: Some(23),
            #[cfg(feature = "mutants")]
            remarks: None,
        }
    }

    #[test]
    fn a_report_reads_back_and_a_cut_or_newer_one_is_refused() {
        for version in [1, 2, 3] {
            let bytes = report().encode(version);
            let activity = report().activity.filter(|_| version >= 2);
            let unsaid = report().unsaid.filter(|_| version >= 3);
            let expected = Report {
                activity,
                unsaid,
                ..report()
            };
            assert_eq!(Report::decode(&bytes), Ok(expected));
            for end in 0..bytes.len() {
                assert!(Report::decode(&bytes[..end]).is_err());
            }
            assert!(Report::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        let newer = [&[4], &report().encode(3)[1..]].concat();
        let refused = Report::decode(&newer);
        assert!(matches!(
            refused,
            Err(CodecError::Version { version: 4, .. })
        ));
    }

    #[test]
    fn the_answer_is_the_newest_that_both_know() {
        let version = |question: &[u8]| report().answer(question)[0];
        // An older node asks with nothing.
        assert_eq!((version(&[]), version(&[1])), (1, 1));
        assert_eq!(version(&Report::question()), 3);
        // A newer one says more than this build knows.
        assert_eq!((version(&[9]), version(&[2, 5])), (3, 2));
        assert_eq!(version(&[0]), 1);
    }

    #[test]
    fn a_node_without_a_leader_says_so() {
        let mut leaderless = report();
        leaderless.activity.as_mut().unwrap().consensus.leader = None;
        assert_eq!(Report::decode(&leaderless.encode(3)), Ok(leaderless));
    }

    #[test]
    fn the_golden_reports_are_what_is_written() {
        let golden = include_str!("../../tests/fixtures/cluster/reports.txt");
        let hex = |bytes: &[u8]| {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        };
        let written = format!(
            "question {}\nv1 {}\nv2 {}\nv3 {}\n",
            hex(&Report::question()),
            hex(&report().encode(1)),
            hex(&report().encode(2)),
            hex(&report().encode(3)),
        );
        assert_eq!(written, golden, "the format has changed");
        assert_eq!(report().encode(1), super::golden("report "));
    }
}
