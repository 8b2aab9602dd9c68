//! Label values of what nodes do with each other: calls, connections, copies.

use super::label::{Label, label};

label! {
    /// What a call between nodes asks for.
    PeerService "service" {
        /// Entries of the log, and heartbeats.
        Append "append",
        /// A vote.
        Vote "vote",
        /// A part of a snapshot.
        Snapshot "snapshot",
        /// A confirmed read index.
        ReadIndex "read_index",
        /// A proposal, handed to the leader.
        Propose "propose",
        /// Membership and what nodes tell of themselves.
        Cluster "cluster",
        /// Admission of a new node.
        Join "join",
        /// Blobs: who holds them, copies.
        Blob "blob",
        /// An upload session of another node.
        Upload "upload",
        /// What a node says about itself.
        Report "report",
        /// One that this build does not know.
        Unknown "unknown",
    }
}

label! {
    /// How a call between nodes ended.
    CallEnd "end" {
        /// Answered.
        Answered "answered",
        /// Refused by the node called.
        Refused "refused",
        /// No connection could be made.
        Unreachable "unreachable",
        /// The connection ended before the answer.
        Lost "lost",
        /// No answer in time.
        TimedOut "timed_out",
    }
}

label! {
    /// Why a connection between nodes was refused before its first frame.
    HandshakeFailure "reason" {
        /// The other end is gone, or the socket failed.
        Closed "closed",
        /// Not done in time.
        TimedOut "timed_out",
        /// Too many of its address, or too many that join.
        Crowded "crowded",
        /// Not what a node would have sent.
        Protocol "protocol",
        /// Another secret, or another cluster with another secret.
        Secret "secret",
        /// A certificate that does not hold: wrong authority, expired, or none.
        Certificate "certificate",
        /// A node of another cluster.
        Cluster "cluster",
        /// Another node than the one wanted.
        Node "node",
        /// Refused by the other end.
        Refused "refused",
    }
}

label! {
    /// How a fetch from one source ended.
    FetchEnd "end" {
        /// The blob is here.
        Sealed "sealed",
        /// The source failed; the rest comes from another one, or later.
        SourceFailed "source_failed",
        /// The source does not have the blob, or has no time.
        SourceLacks "source_lacks",
        /// The source sent wrong bytes.
        SourceLied "source_lied",
        /// This node could not write.
        LocalFailed "local_failed",
        /// Not needed any more.
        GivenUp "given_up",
    }
}

label! {
    /// Why a fetch failed.
    FetchFailure "reason" {
        /// The source could not be reached.
        Unreachable "unreachable",
        /// The connection broke.
        Broken "broken",
        /// Nothing came for too long.
        Stalled "stalled",
        /// The source is too slow.
        Slow "slow",
        /// The source is busy.
        Busy "busy",
        /// The source does not have the blob.
        Lacks "lacks",
        /// The source said something that no source says.
        Protocol "protocol",
        /// An extent does not have the checksum that the journal knows.
        Checksum "checksum",
        /// The whole does not have the digest.
        Digest "digest",
        /// The disk of this node failed.
        Disk "disk",
        /// The disk of this node is full.
        NoSpace "no_space",
        /// The journal knows no checksums that fit.
        Record "record",
    }
}

label! {
    /// How a request of another node for a blob ended.
    ServeEnd "end" {
        /// All bytes were sent.
        Sent "sent",
        /// The blob is not here.
        Lacks "lacks",
        /// Too much is under way.
        Busy "busy",
        /// The blob could not be read.
        Failed "failed",
        /// The other node went away.
        Gone "gone",
    }
}

label! {
    /// How the bytes of an upload that went to another node while they came ended, on
    /// either node.
    TeeEnd "end" {
        /// The other node holds the blob.
        Held "held",
        /// A node had no place, no room or no time for them.
        Refused "refused",
        /// The connection or a disk failed, or was too slow.
        Failed "failed",
        /// The upload ended otherwise.
        Abandoned "abandoned",
    }
}

label! {
    /// How the question for a copy ended.
    HoldEnd "end" {
        /// The other node holds the blob.
        Held "held",
        /// It does not, for any reason.
        Failed "failed",
        /// Enough others hold it, or the time was up.
        Abandoned "abandoned",
    }
}
