//! Robots as operators make, see and revoke them.

use std::time::Duration;

use crate::auth::{RobotScopeError, RobotScopes, RobotToken, parse_robot_id};
use crate::base::Clock;
use crate::metadata::{
    self, Command, NewRobot, Outcome, ROBOT_NAME_BYTES_MAX, ROBOT_SCOPE_BYTES_MAX,
    ROBOT_SCOPES_MAX, ROBOTS_LEVEL, Refusal, RobotCommand, RobotId, RobotRecord, StateError,
    is_robot_name,
};
use crate::raft::{Handle, ProposeError, ReadError};
use crate::runtime::sleep;

/// A node that has just started says a moment later what it knows …
const LEVEL_LOOK_PERIOD: Duration = Duration::from_millis(100);
/// … and whoever asks for a robot meanwhile waits so many times.
const LEVEL_LOOKS_MAX: u32 = 30;

/// Why a robot was not made, shown or revoked.
#[derive(Debug, thiserror::Error)]
pub enum RobotError {
    /// Nobody is asked who they are.
    #[error(
        "with `auth.mode = \"none\"` nobody is asked who they are, and a token would give \
         nothing: set `auth.mode` to \"users\" or \"token\""
    )]
    Unasked,
    /// A name that no robot may have.
    #[error(
        "a name has at most {ROBOT_NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`, and begins \
         with a letter or a digit"
    )]
    Name,
    /// A scope that cannot be read.
    #[error(transparent)]
    Scope(#[from] RobotScopeError),
    /// None, too many, or too long ones.
    #[error(
        "a token has 1 to {ROBOT_SCOPES_MAX} scopes of at most {ROBOT_SCOPE_BYTES_MAX} bytes each"
    )]
    Scopes,
    /// An end in the past.
    #[error("the token would have ended already")]
    Ended,
    /// A node of the cluster does not know robots yet.
    #[error(
        "not all nodes know tokens yet: the cluster is at level {level}, and tokens need {ROBOTS_LEVEL}"
    )]
    Level {
        /// What all nodes know.
        level: u32,
    },
    /// The name is taken.
    #[error("another token has this name: revoke it, or choose another name")]
    Known,
    /// There is no more room.
    #[error("there are as many tokens as there may be: revoke some")]
    Exhausted,
    /// No such robot.
    #[error("there is no token of this number, and none of this name that has not ended")]
    Unknown,
    /// The change could not be committed.
    #[error(
        "the cluster cannot decide now: {0}; where a token was to be made, `windlass token list` \
         says whether it was: its secret is lost, so revoke it"
    )]
    Propose(#[from] ProposeError),
    /// What is newest could not be told.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state could not be read.
    #[error("the state cannot be read: {0}")]
    State(#[from] StateError),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RobotWish {
    /// What people call it.
    pub(super) name: Box<str>,
    /// What it may do.
    pub(super) scopes: Vec<Box<str>>,
    /// When it ends, in ms since the Unix epoch.
    pub(super) expires_ms: Option<u64>,
}

/// Makes and revokes robots. Lives on the shard with the operators' door.
#[derive(Debug, Clone)]
pub struct Robots {
    journal: Handle,
    is_asked: bool,
}

impl Robots {
    /// Robots of a journal; `is_asked` says whether callers are asked who they are.
    #[must_use]
    pub const fn new(journal: Handle, is_asked: bool) -> Self {
        Self { journal, is_asked }
    }

    /// Makes a robot. What is returned is the only copy of its secret.
    pub(super) async fn add(&self, wish: RobotWish) -> Result<RobotToken, RobotError> {
        self.check(&wish)?;
        self.wait_for_level().await?;
        let token = RobotToken::random();
        let robot = NewRobot {
            id: token.id(),
            name: wish.name,
            hash: token.hash(),
            scopes: wish.scopes,
            expires_ms: wish.expires_ms,
        };
        match self.propose(RobotCommand::Add(robot)).await? {
            Outcome::Refused(Refusal::RobotsExhausted) => Err(RobotError::Exhausted),
            Outcome::Refused(_) => Err(RobotError::Known),
            _ => Ok(token),
        }
    }

    fn check(&self, wish: &RobotWish) -> Result<(), RobotError> {
        if !self.is_asked {
            return Err(RobotError::Unasked);
        }
        if !is_robot_name(&wish.name) {
            return Err(RobotError::Name);
        }
        let has_room = (1..=ROBOT_SCOPES_MAX).contains(&wish.scopes.len());
        let mut scopes = wish.scopes.iter();
        if !has_room || scopes.any(|scope| scope.len() > ROBOT_SCOPE_BYTES_MAX) {
            return Err(RobotError::Scopes);
        }
        RobotScopes::read(wish.scopes.iter().map(|text| &**text))?;
        let now_ms = Clock::system().unix_ms();
        if wish.expires_ms.is_some_and(|end_ms| end_ms <= now_ms) {
            return Err(RobotError::Ended);
        }
        Ok(())
    }

    /// Waits until all nodes know robots; a cluster that is being upgraded is not waited
    /// for.
    async fn wait_for_level(&self) -> Result<(), RobotError> {
        for _ in 0..LEVEL_LOOKS_MAX {
            if self.level()? >= ROBOTS_LEVEL {
                return Ok(());
            }
            sleep(LEVEL_LOOK_PERIOD).await;
        }
        let level = self.level()?;
        Err(RobotError::Level { level })
    }

    fn level(&self) -> Result<u32, StateError> {
        metadata::format_level(&self.journal.view())
    }

    /// Every robot that is remembered, the newest last.
    pub(super) async fn list(&self) -> Result<Vec<(RobotId, RobotRecord)>, RobotError> {
        self.journal.read_index().await?;
        let mut robots = metadata::robots(&self.journal.view())?;
        robots.sort_by_key(|(id, record)| (record.created_ms, *id));
        Ok(robots)
    }

    /// Revokes a robot, by its number, or by its name while it has not ended.
    pub(super) async fn revoke(&self, named: &str) -> Result<RobotId, RobotError> {
        let id = self.find(named).await?;
        match self.propose(RobotCommand::Revoke { id }).await? {
            Outcome::NotFound(_) => Err(RobotError::Unknown),
            _ => Ok(id),
        }
    }

    async fn find(&self, named: &str) -> Result<RobotId, RobotError> {
        let robots = self.list().await?;
        let now_ms = Clock::system().unix_ms();
        let number = parse_robot_id(named);
        let by_number = robots.iter().find(|(id, _)| Some(*id) == number);
        let is_meant = |record: &RobotRecord| *record.name == *named && record.holds(now_ms);
        let found = by_number.or_else(|| robots.iter().find(|(_, record)| is_meant(record)));
        found.map(|(id, _)| *id).ok_or(RobotError::Unknown)
    }

    async fn propose(&self, command: RobotCommand) -> Result<Outcome, ProposeError> {
        self.journal.propose(Command::Robot(command)).await
    }
}

#[cfg(test)]
#[path = "robots_test.rs"]
mod tests;
