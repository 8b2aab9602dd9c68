//! The threads that check passwords.

use crate::auth::PasswordHash;
use crate::base::limits::{LOGIN_THREADS, WAITING_LOGINS_MAX};
use crate::runtime::{Background, BackgroundError};

/// A password to be checked. Not printed.
struct Check {
    hash: PasswordHash,
    password: Box<str>,
    answer: flume::Sender<bool>,
}

/// Takes passwords to the threads that check them. Cheap to clone; crosses threads.
/// The threads end when the last one of these is dropped.
#[derive(Clone)]
pub(super) struct Hasher {
    checks: flume::Sender<Check>,
}

/// As many logins wait as may.
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
                    // Whoever asked may have hung up.
                    let _ = check.answer.send(is_right);
                }
            })?);
        }
        Ok(Self { checks })
    }

    /// Whether `password` has this hash. Waits for a thread.
    ///
    /// - Errors: the queue is full; nothing was checked.
    /// - Cancel: the check may still be made.
    pub(super) async fn verify(
        &self,
        hash: PasswordHash,
        password: Box<str>,
    ) -> Result<bool, Crowded> {
        let (answer, answered) = flume::bounded(1);
        let check = Check {
            hash,
            password,
            answer,
        };
        self.checks.try_send(check).map_err(|_| Crowded)?;
        // A thread that is gone has checked nothing.
        Ok(answered.recv_async().await.unwrap_or_default())
    }
}
