//! Robots: machines that prove themselves with a secret of the registry's own making.

use super::command_codec::{list, option, optional};
use crate::base::units::to_u32;
use crate::base::{CodecError, Reader, Writer};

/// Names a robot for ever; part of its secret, and public.
pub type RobotId = [u8; 8];
/// SHA-256 of a robot's secret; the secret itself is never written down.
///
/// A fast hash is right here, unlike for passwords: the secret is 256 random bits, so
/// that nobody finds it by trying, however fast.
pub type RobotHash = [u8; 32];

/// Longest name of a robot.
pub const ROBOT_NAME_BYTES_MAX: usize = 64;
/// Scopes of one robot; who needs more wants a pattern.
pub const ROBOT_SCOPES_MAX: usize = 32;
/// Longest scope: the longest name of a repository, and all actions.
pub const ROBOT_SCOPE_BYTES_MAX: usize = 320;

/// A robot as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRobot {
    /// Its number, chosen at random by the proposer.
    pub id: RobotId,
    /// What people call it.
    pub name: Box<str>,
    /// Hash of its secret.
    pub hash: RobotHash,
    /// What it may do, as texts that `auth` reads.
    pub scopes: Vec<Box<str>>,
    /// It proves nothing from this time on, in ms since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// A change of robots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RobotCommand {
    /// One more.
    Add(NewRobot),
    /// Its secret proves nothing any more.
    Revoke {
        /// Its number.
        id: RobotId,
    },
}

impl RobotCommand {
    /// Appends tag and fields as `command_codec` draws them.
    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Add(robot) => {
                writer.u8(18).raw(&robot.id).text(&robot.name);
                writer.raw(&robot.hash);
                encode_scopes(writer, &robot.scopes);
                option(writer, robot.expires_ms, |writer, time_ms| {
                    writer.u64(time_ms);
                });
            }
            Self::Revoke { id } => {
                writer.u8(19).raw(id);
            }
        }
    }

    /// Takes the fields behind a tag.
    pub(super) fn decode(tag: u8, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match tag {
            18 => Self::Add(NewRobot {
                id: reader.array()?,
                name: name(reader)?,
                hash: reader.array()?,
                scopes: scopes(reader)?,
                expires_ms: optional(reader, "has_end", Reader::u64)?,
            }),
            19 => Self::Revoke {
                id: reader.array()?,
            },
            _ => return Err(CodecError::Invalid { field: "command" }),
        })
    }
}

/// Whether a robot may be called so: letters, digits, `.`, `_` and `-`, the first one no
/// sign. So a name needs no quotes in a shell, and no colon cuts it in a login.
#[must_use]
pub fn is_robot_name(name: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let first = name.bytes().next();
    name.len() <= ROBOT_NAME_BYTES_MAX
        && first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(is_sound)
}

/// Appends scopes.
pub(super) fn encode_scopes(writer: &mut Writer, scopes: &[Box<str>]) {
    writer.u32(to_u32(scopes.len()));
    for scope in scopes {
        writer.text(scope);
    }
}

/// Takes a name that a robot may have.
pub(super) fn name(reader: &mut Reader<'_>) -> Result<Box<str>, CodecError> {
    let name = reader.text("name")?;
    if is_robot_name(name) {
        Ok(name.into())
    } else {
        Err(CodecError::Invalid { field: "name" })
    }
}

/// Takes scopes, as many and as long as there may be.
pub(super) fn scopes(reader: &mut Reader<'_>) -> Result<Vec<Box<str>>, CodecError> {
    let scopes: Vec<Box<str>> = list(reader, |reader| reader.text("scope").map(Into::into))?;
    let is_sound = |scope: &str| {
        let is_long = scope.len() > ROBOT_SCOPE_BYTES_MAX;
        !is_long && scope.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if scopes.len() <= ROBOT_SCOPES_MAX && scopes.iter().all(|scope| is_sound(scope)) {
        Ok(scopes)
    } else {
        Err(CodecError::Invalid { field: "scopes" })
    }
}
