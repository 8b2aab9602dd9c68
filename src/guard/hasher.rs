//! The threads that check passwords.

use std::net::IpAddr;

use crate::auth::PasswordHash;
use crate::base::limits::{CLIENT_LOGINS_MAX, LOGIN_THREADS, WAITING_LOGINS_MAX};
use crate::quota::{Turn, Turns};
use crate::runtime::{Background, BackgroundError};

/// A password to be checked. Not printed.
struct Check {
    hash: PasswordHash,
    password: Box<str>,
    turn: Turn,
    answer: flume::Sender<bool>,
}

/// Takes passwords to the threads that check them. Cheap to clone; crosses threads.
/// The threads end when the last one of these is dropped.
#[derive(Clone)]
pub(super) struct Hasher {
    checks: flume::Sender<Check>,
    turns: Turns,
}

/// As many logins wait as may, of this client or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

impl Hasher {
    /// Starts the threads.
    pub(super) fn start(background: &Background) -> Result<Self, BackgroundError> {
        let (checks, queue) = flume::bounded::<Check>(WAITING_LOGINS_MAX);
        for number in 0..LOGIN_THREADS {
            let queue = queue.clone();
            // Ends with the queue; nobody waits for it.
            drop(background.spawn(&format!("login-{number}"), move || {
                for check in queue {
                    let is_right = check.hash.verify(&check.password);
                    drop(check.turn);
                    // Whoever asked may have hung up.
                    let _ = check.answer.send(is_right);
                }
            })?);
        }
        let turns = Turns::new(WAITING_LOGINS_MAX, CLIENT_LOGINS_MAX);
        Ok(Self { checks, turns })
    }

    /// Whether `password` has this hash. Waits for a thread.
    ///
    /// - Errors: the queue is full, or the client's share of it; nothing was checked.
    /// - Cancel: the check may still be made.
    pub(super) async fn verify(
        &self,
        hash: PasswordHash,
        password: Box<str>,
        client: IpAddr,
    ) -> Result<bool, Crowded> {
        let turn = self.turns.take(client).ok_or(Crowded)?;
        let (answer, answered) = flume::bounded(1);
        let check = Check {
            hash,
            password,
            turn,
            answer,
        };
        self.checks.try_send(check).map_err(|_| Crowded)?;
        // A thread that is gone has checked nothing.
        Ok(answered.recv_async().await.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::runtime::{ShardPlan, Topology, Wishes};

    /// Takes long enough for a crowd to gather.
    const SLOW: &str = "$6$rounds=200000$saltsalt$o.h9sgZtM8Cuj/Y.m9/pooEo7pY61dKJuMzWBe8giK7nGulVl5d5rOdKuKd5dtY7E9hI1LLXbe428gIyuxW.E0";

    #[test]
    fn a_crowd_at_one_address_keeps_nobody_else_out() {
        let plan = ShardPlan::of(&Topology::detect().unwrap(), Wishes::default()).unwrap();
        let hasher = Hasher::start(&Background::new(&plan)).unwrap();
        let hash = PasswordHash::parse(SLOW).unwrap();
        let guess = |client: [u8; 4]| hasher.verify(hash.clone(), "wrong".into(), client.into());
        let (guesser, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        block_on(async {
            let crowd = (0..CLIENT_LOGINS_MAX).map(|_| Box::pin(guess(guesser)));
            let mut crowd: Vec<_> = crowd.collect();
            for one in &mut crowd {
                assert_eq!(poll_once(one).await, None);
            }
            assert_eq!(guess(guesser).await, Err(Crowded));
            assert_eq!(guess(other).await, Ok(false));
            for one in crowd {
                assert_eq!(one.await, Ok(false));
            }
            assert_eq!(guess(guesser).await, Ok(false));
        });
    }
}
