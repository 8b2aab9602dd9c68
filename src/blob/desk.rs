//! Hands sessions out to whoever works on them, across shards.
//!
//! Every shard has a desk with the table of the sessions it owns, and an inbox that
//! every shard can write to. A session leaves the desk as a [`Claim`] and comes back
//! when the claim is given back or dropped, wherever that happens, so that a request
//! that dies gives its session back as it was.

use std::cell::RefCell;
use std::rc::Rc;

use super::table::{CheckOut, Grant, Next, Return, Standing, Table, TableFull};
use super::upload_id::UploadId;
use crate::base::Clock;

/// Writes to the desk of one shard. Crosses threads.
///
/// - Shape: unbounded, because what is in it is bounded: one question per request,
///   one return per claim. A return must never be lost for want of room.
pub(super) type Outbox = flume::Sender<Letter>;
/// What a shard's desk reads. Crosses threads until its desk takes it.
pub(super) type Inbox = flume::Receiver<Letter>;

/// Why a session is not handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Others work on it and wait for it.
    Busy,
    /// There is no such session.
    Unknown,
}

/// What one shard asks of another's desk.
#[derive(Debug)]
pub(super) enum Letter {
    /// Asks for a session.
    CheckOut {
        question: Question,
        reply: flume::Sender<Result<Claim, Refusal>>,
    },
    /// Asks how much of a session is held.
    Held {
        question: Question,
        reply: flume::Sender<Option<u64>>,
    },
    /// Brings a session back.
    CheckIn {
        id: UploadId,
        ticket: u64,
        how: Return,
    },
    /// Enters a session that recovery found on disk.
    Enter {
        id: UploadId,
        standing: Standing,
        touched_ms: u64,
    },
}

/// Which session is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) id: UploadId,
    /// Whether the id is of an earlier boot and young enough to begin again at 0
    /// when nothing is known of it.
    pub(super) may_revive: bool,
}

/// The exclusive right to work on one session. Dropped, it returns the session
/// unchanged: as its last record says.
#[derive(Debug)]
pub(super) struct Claim {
    id: UploadId,
    grant: Grant,
    /// Emptied by the return.
    owner: Option<Outbox>,
}

impl Claim {
    /// What is on disk of it.
    pub(super) const fn standing(&self) -> Standing {
        self.grant.standing
    }

    /// Returns the session.
    pub(super) fn give_back(mut self, how: Return) {
        self.send(how);
    }

    fn send(&mut self, how: Return) {
        let letter = Letter::CheckIn {
            id: self.id,
            ticket: self.grant.ticket,
            how,
        };
        if let Some(owner) = self.owner.take() {
            // Without a reader the owner's shard has ended, and the process ends too.
            drop(owner.send(letter));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.send(Return::Unchanged);
    }
}

/// The desk of one shard; `Clone` is another handle on the same shard.
#[derive(Clone)]
pub(super) struct Desk {
    table: Rc<RefCell<Table<Waiter>>>,
    inbox: Inbox,
    outbox: Outbox,
    clock: Clock,
}

type Waiter = flume::Sender<Result<Claim, Refusal>>;

impl Desk {
    /// Opens the desk of a shard; what recovery found is in the inbox already.
    pub(super) fn new(outbox: Outbox, inbox: Inbox, clock: Clock) -> Self {
        Self {
            table: Rc::new(RefCell::new(Table::new())),
            inbox,
            outbox,
            clock,
        }
    }

    /// Reads the inbox until no shard can write any more. Runs as a task of the
    /// owner shard for as long as its store lives.
    pub(super) async fn serve(self) {
        while let Ok(letter) = self.inbox.recv_async().await {
            self.read(letter);
        }
    }

    /// Enters a fresh session.
    pub(super) fn enter(&self, id: UploadId, standing: Standing) -> Result<(), TableFull> {
        let now_ms = self.clock.unix_ms();
        self.table.borrow_mut().enter(id, standing, now_ms)
    }

    /// Asks this shard's own desk for a session; the answer comes by `reply`.
    pub(super) fn check_out(&self, question: Question, reply: Waiter) {
        self.catch_up();
        self.answer_check_out(question, reply);
    }

    /// Acknowledged bytes of a session that this shard owns.
    pub(super) fn held_bytes(&self, question: Question) -> Option<u64> {
        self.catch_up();
        let now_ms = self.clock.unix_ms();
        let mut table = self.table.borrow_mut();
        if question.may_revive {
            table.revive(question.id, now_ms);
        }
        table.held_bytes(&question.id, now_ms)
    }

    /// Takes the sessions off the table that were idle for `idle_ms`; the caller
    /// removes their files.
    pub(super) fn purge(&self, idle_ms: u64) -> Vec<UploadId> {
        self.catch_up();
        let before_ms = self.clock.unix_ms().saturating_sub(idle_ms);
        self.table.borrow_mut().purge(before_ms)
    }

    /// Sessions that this shard owns.
    pub(super) fn count(&self) -> usize {
        self.catch_up();
        self.table.borrow().count()
    }

    /// Reads what was written before now, so that a session that was given back
    /// before an answer went out is seen by the request that followed it.
    fn catch_up(&self) {
        while let Ok(letter) = self.inbox.try_recv() {
            self.read(letter);
        }
    }

    fn read(&self, letter: Letter) {
        let now_ms = self.clock.unix_ms();
        match letter {
            Letter::CheckOut { question, reply } => self.answer_check_out(question, reply),
            Letter::Held { question, reply } => {
                let mut table = self.table.borrow_mut();
                if question.may_revive {
                    table.revive(question.id, now_ms);
                }
                // Nobody listens when the request was dropped; so below.
                let _ = reply.send(table.held_bytes(&question.id, now_ms));
            }
            Letter::CheckIn { id, ticket, how } => {
                let next = self.table.borrow_mut().check_in(&id, ticket, how, now_ms);
                self.pass_on(id, next);
            }
            Letter::Enter {
                id,
                standing,
                touched_ms,
            } => {
                let entered = self.table.borrow_mut().enter(id, standing, touched_ms);
                if entered.is_err() {
                    tracing::warn!(upload = %id, "too many sessions on disk, one is left out");
                }
            }
        }
    }

    fn answer_check_out(&self, question: Question, reply: Waiter) {
        let (id, now_ms) = (question.id, self.clock.unix_ms());
        let mut table = self.table.borrow_mut();
        if question.may_revive {
            table.revive(id, now_ms);
        }
        let answer = table.check_out(&id, reply, now_ms);
        drop(table);
        match answer {
            CheckOut::Granted(grant, reply) => self.grant(id, grant, &reply),
            CheckOut::Waiting => {}
            CheckOut::Busy(reply) => drop(reply.send(Err(Refusal::Busy))),
            CheckOut::Unknown(reply) => drop(reply.send(Err(Refusal::Unknown))),
        }
    }

    fn pass_on(&self, id: UploadId, next: Next<Waiter>) {
        match next {
            Next::Nobody => {}
            Next::Granted(grant, reply) => self.grant(id, grant, &reply),
            Next::Gone(waiters) => {
                for reply in waiters {
                    drop(reply.send(Err(Refusal::Unknown)));
                }
            }
        }
    }

    /// Sends a claim off. When nobody receives it any more it is dropped here or
    /// with the channel, and so comes back through the inbox.
    fn grant(&self, id: UploadId, grant: Grant, reply: &Waiter) {
        let claim = Claim {
            id,
            grant,
            owner: Some(self.outbox.clone()),
        };
        drop(reply.send(Ok(claim)));
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({} sessions)", self.table.borrow().count())
    }
}
