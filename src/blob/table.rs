//! Which sessions live, and who works on each: one table per owner shard. Pure.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::upload_id::UploadId;
use crate::oci::Algorithm;

/// Sessions one shard owns at a time; `begin` refuses beyond. A session without
/// bytes costs its entry of about 150 bytes, so the bound is 10 MiB.
const SESSIONS_MAX: usize = 65_536;
/// Requests that wait for one session; further ones are answered busy.
const WAITERS_MAX: usize = 4;
/// Ended sessions of earlier boots that are remembered; beyond, the oldest ids are
/// forgotten first, and would begin again at 0 when they are used once more.
const ENDED_IDS_MAX: usize = 16_384;

/// The sessions of one owner shard. `W` is whatever waits for a session.
#[derive(Debug)]
pub(super) struct Table<W> {
    sessions: HashMap<UploadId, Session<W>>,
    /// Ended ids of earlier boots, oldest first. Nothing else tells them from a
    /// session that has no bytes yet; ids of this boot need a live entry.
    ended: BTreeSet<(u32, UploadId)>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Session<W> {
    standing: Standing,
    /// Milliseconds since the Unix epoch.
    touched_ms: u64,
    /// Set while somebody works on the session.
    ticket: Option<u64>,
    waiters: VecDeque<W>,
}

/// What is on disk of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Acknowledged bytes; a record exists when there are any.
    pub(super) held_bytes: u64,
    /// What the client announced; only `begin` knows it before there is a record.
    pub(super) algorithm: Algorithm,
}

/// The right to work on a session, until it is checked in under the same ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) ticket: u64,
    pub(super) standing: Standing,
}

/// Answer to a check-out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CheckOut<W> {
    /// Yours.
    Granted(Grant, W),
    /// Queued behind the one who works on it.
    Waiting,
    /// As many wait as may.
    Busy(W),
    /// No such session.
    Unknown(W),
}

/// How a session comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// As it was: whatever was done since is lost.
    Unchanged,
    /// With a new record.
    Held(u64),
    /// Sealed or aborted.
    Ended,
}

/// Who hears of a check-in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<W> {
    /// Nobody waited.
    Nobody,
    /// The first who waited has the session now.
    Granted(Grant, W),
    /// The session is gone, for all who waited.
    Gone(VecDeque<W>),
}

impl<W> Table<W> {
    /// No sessions.
    pub(super) fn new() -> Self {
        Self {
            sessions: HashMap::new(),
            ended: BTreeSet::new(),
            last_ticket: 0,
        }
    }

    /// Enters a session: a fresh one, or one that recovery found on disk.
    ///
    /// - Errors: `Err` when the table is full.
    pub(super) fn enter(
        &mut self,
        id: UploadId,
        standing: Standing,
        touched_ms: u64,
    ) -> Result<(), TableFull> {
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(TableFull);
        }
        let session = Session {
            standing,
            touched_ms,
            ticket: None,
            waiters: VecDeque::new(),
        };
        self.sessions.insert(id, session);
        Ok(())
    }

    /// Enters an authentic id of an earlier boot, of which nothing is on disk,
    /// unless it is known to have ended.
    pub(super) fn revive(&mut self, id: UploadId, now_ms: u64) {
        let is_known = self.sessions.contains_key(&id);
        if !is_known && !self.ended.contains(&(id.fields().created_s, id)) {
            let standing = Standing {
                held_bytes: 0,
                algorithm: Algorithm::Sha256,
            };
            // A full table leaves the session unknown, which the client can repair.
            let _ = self.enter(id, standing, now_ms);
        }
    }

    /// Asks for a session.
    pub(super) fn check_out(&mut self, id: &UploadId, waiter: W, now_ms: u64) -> CheckOut<W> {
        let Some(session) = self.sessions.get_mut(id) else {
            return CheckOut::Unknown(waiter);
        };
        session.touched_ms = now_ms;
        if session.ticket.is_none() {
            let grant = session.grant(&mut self.last_ticket);
            return CheckOut::Granted(grant, waiter);
        }
        if session.waiters.len() >= WAITERS_MAX {
            return CheckOut::Busy(waiter);
        }
        session.waiters.push_back(waiter);
        CheckOut::Waiting
    }

    /// Takes a session back, and passes it on when somebody waits. A ticket that
    /// is not out changes nothing.
    pub(super) fn check_in(
        &mut self,
        id: &UploadId,
        ticket: u64,
        how: Return,
        now_ms: u64,
    ) -> Next<W> {
        let found = self.sessions.get_mut(id);
        let Some(session) = found.filter(|session| session.ticket == Some(ticket)) else {
            return Next::Nobody;
        };
        session.ticket = None;
        session.touched_ms = now_ms;
        match how {
            Return::Unchanged => {}
            Return::Held(held_bytes) => session.standing.held_bytes = held_bytes,
            Return::Ended => return self.end(id),
        }
        session.waiters.pop_front().map_or(Next::Nobody, |waiter| {
            Next::Granted(session.grant(&mut self.last_ticket), waiter)
        })
    }

    /// Acknowledged bytes of a session, also while somebody works on it.
    pub(super) fn held_bytes(&mut self, id: &UploadId, now_ms: u64) -> Option<u64> {
        let session = self.sessions.get_mut(id)?;
        session.touched_ms = now_ms;
        Some(session.standing.held_bytes)
    }

    /// Removes the sessions that nobody works on and nobody used since `before_ms`.
    pub(super) fn purge(&mut self, before_ms: u64) -> Vec<UploadId> {
        let is_idle =
            |session: &Session<W>| session.ticket.is_none() && session.touched_ms < before_ms;
        let idle = self.sessions.extract_if(|_, session| is_idle(session));
        let idle: Vec<UploadId> = idle.map(|(id, _)| id).collect();
        for id in &idle {
            self.remember_end(*id);
        }
        idle
    }

    /// Sessions in the table.
    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    fn end(&mut self, id: &UploadId) -> Next<W> {
        self.remember_end(*id);
        let ended = self.sessions.remove(id);
        ended.map_or(Next::Nobody, |session| Next::Gone(session.waiters))
    }

    fn remember_end(&mut self, id: UploadId) {
        self.ended.insert((id.fields().created_s, id));
        while self.ended.len() > ENDED_IDS_MAX {
            self.ended.pop_first();
        }
    }
}

impl<W> Session<W> {
    fn grant(&mut self, last_ticket: &mut u64) -> Grant {
        *last_ticket += 1;
        self.ticket = Some(*last_ticket);
        Grant {
            ticket: *last_ticket,
            standing: self.standing,
        }
    }
}

/// The table holds as many sessions as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableFull;

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
