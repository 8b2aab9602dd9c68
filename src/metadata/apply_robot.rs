//! Robots: added, revoked, and forgotten when room is needed.

use super::draft::Draft;
use super::key;
use super::outcome::{Outcome, Refusal, What};
use super::record::StateError;
use super::robot_command::{NewRobot, RobotCommand, RobotId};
use super::robot_record::{RobotRecord, robot, robots};

/// Robots that are remembered: each is looked at when one is added.
pub(super) const ROBOTS_MAX: usize = 1024;

/// `Command::Robot`
pub(super) fn change_robot(
    draft: &mut Draft<'_>,
    command: &RobotCommand,
) -> Result<Outcome, StateError> {
    match command {
        RobotCommand::Add(robot) => add(draft, robot),
        RobotCommand::Revoke { id } => revoke(draft, *id),
    }
}

/// Adds a robot, unless another one that has not ended is called so. Where all places
/// are taken, the oldest that has ended is forgotten.
fn add(draft: &mut Draft<'_>, new: &NewRobot) -> Result<Outcome, StateError> {
    if let Some(known) = robot(&draft.view, new.id)? {
        let is_same = known.hash == new.hash && known.name == new.name;
        return Ok(if is_same {
            Outcome::Applied
        } else {
            Outcome::Refused(Refusal::RobotKnown)
        });
    }
    let known = robots(&draft.view)?;
    let now_ms = draft.now_ms;
    let has_name = |record: &RobotRecord| record.name == new.name && record.holds(now_ms);
    if known.iter().any(|(_, record)| has_name(record)) {
        return Ok(Outcome::Refused(Refusal::RobotKnown));
    }
    if known.len() >= ROBOTS_MAX {
        let ended = known.iter().filter(|(_, record)| !record.holds(now_ms));
        let Some((oldest, _)) = ended.min_by_key(|(id, record)| (record.created_ms, *id)) else {
            return Ok(Outcome::Refused(Refusal::RobotsExhausted));
        };
        draft.delete(key::robot(oldest));
    }
    let record = RobotRecord {
        name: new.name.clone(),
        hash: new.hash,
        scopes: new.scopes.clone(),
        created_ms: now_ms,
        expires_ms: new.expires_ms,
        revoked_ms: None,
    };
    draft.put(key::robot(&new.id), record.encode());
    Ok(Outcome::Applied)
}

fn revoke(draft: &mut Draft<'_>, id: RobotId) -> Result<Outcome, StateError> {
    let Some(record) = robot(&draft.view, id)? else {
        return Ok(Outcome::NotFound(What::Robot));
    };
    if record.revoked_ms.is_none() {
        let revoked = RobotRecord {
            revoked_ms: Some(draft.now_ms),
            ..record
        };
        draft.put(key::robot(&id), revoked.encode());
    }
    Ok(Outcome::Applied)
}

#[cfg(test)]
#[path = "apply_robot_test.rs"]
mod tests;
