//! What the state knows about robots.
//!
//! ```text
//! robot   u8 version = 1 | text name | 32 hash | u32 count, text scope…
//!           | u64 created_ms | u8 has_end [u64 expires_ms] | u8 is_revoked [u64 revoked_ms]
//! ```

use super::command_codec::{option, optional};
use super::key;
use super::record::{StateError, decode_record, read, read_all, start};
use super::robot_command::{RobotHash, RobotId, encode_scopes, name, scopes};
use super::view::View;
use crate::base::{CodecError, Reader};

/// A machine that proves itself with a secret, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RobotRecord {
    /// What people call it.
    pub name: Box<str>,
    /// Hash of its secret.
    pub hash: RobotHash,
    /// What it may do, as texts that `auth` reads.
    pub scopes: Vec<Box<str>>,
    /// When it was made, in ms since the Unix epoch.
    pub created_ms: u64,
    /// It proves nothing from this time on.
    pub expires_ms: Option<u64>,
    /// When it was revoked, if it was.
    pub revoked_ms: Option<u64>,
}

impl RobotRecord {
    /// Whether its secret proves anything at this time.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|end_ms| now_ms < end_ms)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = start();
        writer.text(&self.name).raw(&self.hash);
        encode_scopes(&mut writer, &self.scopes);
        writer.u64(self.created_ms);
        for time_ms in [self.expires_ms, self.revoked_ms] {
            option(&mut writer, time_ms, |writer, time_ms| {
                writer.u64(time_ms);
            });
        }
        writer.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_record(bytes, "robot", |reader| {
            Ok(Self {
                name: name(reader)?,
                hash: reader.array()?,
                scopes: scopes(reader)?,
                created_ms: reader.u64()?,
                expires_ms: optional(reader, "has_end", Reader::u64)?,
                revoked_ms: optional(reader, "is_revoked", Reader::u64)?,
            })
        })
    }
}

/// A robot by its number, revoked or not.
pub fn robot(view: &dyn View, id: RobotId) -> Result<Option<RobotRecord>, StateError> {
    read(view.value(&key::robot(&id))?, RobotRecord::decode)
}

/// Every robot that is remembered, those that ended included, by number.
pub fn robots(view: &dyn View) -> Result<Vec<(RobotId, RobotRecord)>, StateError> {
    read_all(view, key::ROBOTS, entry)
}

fn entry(id: &[u8], value: &[u8]) -> Result<(RobotId, RobotRecord), CodecError> {
    Ok((Reader::new(id).array()?, RobotRecord::decode(value)?))
}
