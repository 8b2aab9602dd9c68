//! What a node that joins says, and what it is given, in bytes.
//!
//! ```text
//! request  u8 version = 1 | secret [32] | node uuid [16] | text address | u8 is_voter
//! reply    u8 version = 1 | u64 node | cluster [16]
//!            | bytes chain | bytes key | text authority | text authority key
//! ```
//! The four credentials are empty where the nodes trust each other by other means
//! than the cluster's own authority.

use bytes::Bytes;

use crate::base::{CodecError, Reader, Writer};
use crate::metadata::{NodeAddress, NodeUuid};

const JOIN_VERSION: u8 = 1;

/// A node asks to be let in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct JoinRequest {
    /// Secret of the token it brings.
    pub secret: [u8; 32],
    /// Names the machine, so that asking again gives the same answer.
    pub node_uuid: NodeUuid,
    /// Where it will be reached.
    pub address: NodeAddress,
    /// Whether it wants to vote once it has caught up.
    pub is_voter: bool,
}

/// It is let in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct JoinReply {
    /// Its number.
    pub node: u64,
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// Its certificate …
    pub chain: Bytes,
    /// … and key.
    pub key: Bytes,
    /// The authority's certificate …
    pub authority: String,
    /// … and key: any member can admit the next one.
    pub authority_key: String,
}

impl JoinRequest {
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer
            .u8(JOIN_VERSION)
            .raw(&self.secret)
            .raw(&self.node_uuid);
        writer
            .text(self.address.as_str())
            .u8(u8::from(self.is_voter));
        writer.finish().into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = begin(payload)?;
        let request = Self {
            secret: reader.array()?,
            node_uuid: reader.array()?,
            address: NodeAddress::parse(reader.text("address")?)
                .map_err(|_| CodecError::Invalid { field: "address" })?,
            is_voter: reader.u8()? == 1,
        };
        reader.end()?;
        Ok(request)
    }
}

impl JoinReply {
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(JOIN_VERSION).u64(self.node).raw(&self.cluster);
        writer.bytes(&self.chain).bytes(&self.key);
        writer.text(&self.authority).text(&self.authority_key);
        writer.finish().into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = begin(payload)?;
        let reply = Self {
            node: reader.u64()?,
            cluster: reader.array()?,
            chain: reader.owned()?,
            key: reader.owned()?,
            authority: reader.text("authority")?.to_owned(),
            authority_key: reader.text("authority key")?.to_owned(),
        };
        reader.end()?;
        Ok(reply)
    }
}

fn begin(payload: &[u8]) -> Result<Reader<'_>, CodecError> {
    let mut reader = Reader::new(payload);
    let version = reader.u8()?;
    if version == JOIN_VERSION {
        Ok(reader)
    } else {
        Err(CodecError::Version {
            record: "join message",
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::report::golden;

    fn request() -> JoinRequest {
        JoinRequest {
            secret: [7; 32],
            node_uuid: [9; 16],
            address: NodeAddress::parse("b:2").unwrap(),
            is_voter: true,
        }
    }

    fn reply() -> JoinReply {
        JoinReply {
            node: 12,
            cluster: [3; 16],
            chain: Bytes::from_static(b"chain"),
            key: Bytes::from_static(b"key"),
            authority: "authority".to_owned(),
            authority_key: "authority key".to_owned(),
        }
    }

    #[test]
    fn both_read_back_and_are_the_drawn_bytes() {
        let drawn = [&[1][..], &[7; 32], &[9; 16], &[3, 0, 0, 0], b"b:2", &[1]];
        assert_eq!(request().encode().as_ref(), drawn.concat());
        assert_eq!(request().encode(), golden("join_request "));
        assert_eq!(reply().encode(), golden("join_reply "));
        assert!(JoinRequest::decode(&request().encode()) == Ok(request()));
        assert!(JoinReply::decode(&reply().encode()) == Ok(reply()));
    }

    #[test]
    fn cut_and_newer_messages_are_refused() {
        for whole in [request().encode(), reply().encode()] {
            for end in 0..whole.len() {
                assert!(JoinRequest::decode(&whole[..end]).is_err());
                assert!(JoinReply::decode(&whole[..end]).is_err());
            }
            let mut newer = whole.to_vec();
            newer[0] = 2;
            let refused = CodecError::Version {
                record: "join message",
                version: 2,
            };
            assert!(JoinRequest::decode(&newer) == Err(refused));
        }
    }
}
