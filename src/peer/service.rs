//! What calls ask for, and which connection they travel on.

#[cfg(feature = "mutants")]
use crate::base::tomorrow;
use crate::telemetry::PeerService;

use super::preamble::Purpose;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Service {
    /// Entries of the log, and heartbeats.
    Append = 1,
    /// A vote.
    Vote = 2,
    /// A part of a snapshot.
    Snapshot = 3,
    /// A confirmed read index.
    ReadIndex = 4,
    /// A proposal, handed to the leader.
    Propose = 5,
    /// Membership and what nodes tell of themselves.
    Cluster = 6,
    /// Admission of a new node; the only call of a node that is no member.
    Join = 7,
    /// Blobs: who holds them, copies.
    Blob = 8,
    /// An upload session of another node.
    Upload = 9,
    /// What a node says about itself, for operators.
    Report = 10,
    /// Whether the other end is of the version after this one; see `base::tomorrow`.
    #[cfg(feature = "mutants")]
    Greeting = 255,
}

impl Service {
    const ALL: &[Self] = &[
        Self::Append,
        Self::Vote,
        Self::Snapshot,
        Self::ReadIndex,
        Self::Propose,
        Self::Cluster,
        Self::Join,
        Self::Blob,
        Self::Upload,
        Self::Report,
        #[cfg(feature = "mutants")]
        Self::Greeting,
    ];

    /// The number in a frame.
    pub(super) const fn code(self) -> u16 {
        self as u16
    }

    /// The service of a number; `None` for those of a newer version.
    pub(super) fn of_code(code: u16) -> Option<Self> {
        let mut known = Self::ALL.iter().copied();
        let found = known.find(|each| each.code() == code);
        #[cfg(feature = "mutants")]
        let found = found.filter(|each| *each != Self::Greeting || tomorrow::is_on());
        found
    }

    /// The service as a label of metrics.
    pub(super) const fn label(self) -> PeerService {
        match self {
            Self::Append => PeerService::Append,
            Self::Vote => PeerService::Vote,
            Self::Snapshot => PeerService::Snapshot,
            Self::ReadIndex => PeerService::ReadIndex,
            Self::Propose => PeerService::Propose,
            Self::Cluster => PeerService::Cluster,
            Self::Join => PeerService::Join,
            Self::Blob => PeerService::Blob,
            Self::Upload => PeerService::Upload,
            Self::Report => PeerService::Report,
            #[cfg(feature = "mutants")]
            Self::Greeting => PeerService::Unknown,
        }
    }

    /// The lane of its calls.
    pub(super) const fn lane(self) -> Lane {
        match self {
            Self::Append | Self::Vote | Self::ReadIndex | Self::Cluster => Lane::Consensus,
            Self::Snapshot => Lane::Snapshot,
            Self::Propose | Self::Blob | Self::Upload | Self::Report => Lane::Work,
            Self::Join => Lane::Join,
            #[cfg(feature = "mutants")]
            Self::Greeting => Lane::Consensus,
        }
    }
}

/// Calls of one lane share a connection; a call that is large or slow to go holds up
/// those of its own lane only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// What an election waits for, and other short questions about the journal.
    Consensus,
    /// Parts of snapshots.
    Snapshot,
    /// What nodes ask for their clients.
    Work,
    /// Of a node that is no member yet.
    Join,
}

impl Lane {
    /// What its connections are for.
    pub(super) const fn purpose(self) -> Purpose {
        match self {
            Self::Consensus | Self::Snapshot | Self::Work => Purpose::Calls,
            Self::Join => Purpose::Join,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_number_and_a_newer_one_is_not() {
        for service in Service::ALL.iter().copied() {
            assert_eq!(Service::of_code(service.code()), Some(service));
        }
        assert_eq!(Service::of_code(0), None);
        assert_eq!(Service::of_code(11), None);
    }
}
