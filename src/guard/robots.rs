//! Robots: what their secrets prove, and for how long.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::admit::{Guard, LoggedIn, Origin, Unproved};
use crate::auth::{
    Login, RobotScopes, RobotToken, Subject, Verified, parse_robot_id, robot_id_text,
};
use crate::base::limits::LOGIN_FAILURE_PAUSE;
use crate::metadata::{RobotHash, RobotId, RobotRecord, StateError};
use crate::runtime::sleep;
use crate::telemetry::LoginEnd;

/// Robots whose scopes one shard keeps compiled: as many as there are.
const KEPT_ROBOTS_MAX: usize = 1024;
/// Where the token of a robot keeps its number.
pub(super) const ROBOT_CLAIM: &str = "robot";

type Find = dyn Fn(RobotId) -> Result<Option<RobotRecord>, StateError> + Send + Sync;

/// Where robots are looked up: what this node has applied of the journal.
///
/// So what was revoked proves nothing on a node from the moment on in which the node
/// has applied that, and a robot that was just made is known there from then on. A node
/// that is cut off from the others goes on with what it knew last.
#[derive(Clone)]
pub struct Robots(Arc<Find>);

impl fmt::Debug for Robots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Robots").finish_non_exhaustive()
    }
}

impl Robots {
    /// Robots that `find` finds. Called for each request of a robot: it must not wait.
    pub fn new(
        find: impl Fn(RobotId) -> Result<Option<RobotRecord>, StateError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(find))
    }
}

/// A robot that has proved itself.
#[derive(Debug)]
pub(super) struct Robot {
    pub(super) id: RobotId,
    pub(super) name: Box<str>,
    pub(super) scopes: Rc<RobotScopes>,
    /// When its secret ends, in seconds since the Unix epoch, if it does.
    pub(super) ends_seconds: Option<u64>,
}

/// Compiled scopes, by the hash of the secret that they were given to: neither changes.
#[derive(Debug, Default)]
pub(super) struct CompiledScopes(RefCell<HashMap<RobotHash, Rc<RobotScopes>>>);

impl CompiledScopes {
    fn of(&self, record: &RobotRecord) -> Rc<RobotScopes> {
        let mut kept = self.0.borrow_mut();
        if let Some(scopes) = kept.get(&record.hash) {
            return Rc::clone(scopes);
        }
        let scopes = RobotScopes::read(record.scopes.iter().map(|text| &**text));
        let scopes = scopes.unwrap_or_else(|error| {
            // Written by a version that knows more.
            tracing::error!(robot = %record.name, %error, "the robot may do nothing here");
            RobotScopes::default()
        });
        if kept.len() >= KEPT_ROBOTS_MAX {
            kept.clear();
        }
        let scopes = Rc::new(scopes);
        kept.insert(record.hash, Rc::clone(&scopes));
        scopes
    }
}

impl Guard {
    /// Checks the secret of a robot that stands in place of a password. A number that
    /// nobody has costs the same as one that somebody has.
    pub(super) async fn login_robot(
        &self,
        token: &RobotToken,
        login: &Login,
        origin: Origin<'_>,
    ) -> Result<LoggedIn, Unproved> {
        let client = origin.address;
        let record = self.record_of(token.id())?;
        let is_right = token.is_of(record.as_ref().map(|record| &record.hash));
        let now_ms = self.clock.unix_ms();
        let holds = |record: &RobotRecord| record.name == login.username && record.holds(now_ms);
        let logins = &self.metrics.access.logins;
        if let Some(record) = record.filter(|record| is_right && holds(record)) {
            logins.of(LoginEnd::Proved).count();
            let robot = self.proved_robot(token.id(), &record);
            return Ok(LoggedIn::robot(robot, origin.network));
        }
        logins.of(LoginEnd::Wrong).count();
        let robot = robot_id_text(token.id());
        tracing::warn!(robot, %client, "the secret of a robot is refused");
        self.misled(client)?;
        sleep(LOGIN_FAILURE_PAUSE).await;
        Err(Unproved::Invalid)
    }

    /// The robot that a token of this registry was made for, if it was made for one.
    ///
    /// - Errors: the robot is gone since: revoked, or at its end.
    pub(super) fn robot_of(&self, verified: &Verified) -> Result<Option<Robot>, Unproved> {
        let Some(claim) = verified.claims.get(ROBOT_CLAIM) else {
            return Ok(None);
        };
        let id = claim.as_str().and_then(parse_robot_id);
        let id = id.ok_or(Unproved::Invalid)?;
        let record = self.record_of(id)?.ok_or(Unproved::Invalid)?;
        if record.holds(self.clock.unix_ms()) {
            Ok(Some(self.proved_robot(id, &record)))
        } else {
            Err(Unproved::Invalid)
        }
    }

    fn proved_robot(&self, id: RobotId, record: &RobotRecord) -> Robot {
        Robot {
            id,
            name: record.name.clone(),
            scopes: self.robot_scopes.of(record),
            ends_seconds: record.expires_ms.map(|end_ms| end_ms / 1000),
        }
    }

    /// What is known of a robot.
    ///
    /// - Errors: nobody can tell now.
    fn record_of(&self, id: RobotId) -> Result<Option<RobotRecord>, Unproved> {
        (self.robots.0)(id).map_err(|error| {
            tracing::error!(%error, "the state cannot tell whether there is a robot");
            Unproved::Unready
        })
    }
}

impl LoggedIn {
    fn robot(robot: Robot, network: Option<IpAddr>) -> Self {
        Self {
            subject: Subject::robot(&robot.name, network),
            ends_seconds: robot.ends_seconds,
            ends_exactly: true,
            robot: Some(robot),
        }
    }
}

#[cfg(test)]
#[path = "robots_test.rs"]
mod tests;
