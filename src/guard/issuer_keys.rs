//! Keys that issuers publish: a thread for each issuer fetches them, and shards wait
//! for it when a token is signed with a key that nobody here has seen.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use flume::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::watch;

use super::fetch_keys::{FetchedKeys, KeysError, fetch_keys};
use super::options::IssuerKeys;
use super::refetch::Schedule;
use crate::auth::{Issuer, Key};
use crate::base::Clock;
use crate::base::limits::{CLIENT_WAITING_FOR_KEYS_MAX, KEYS_WAIT_MAX, WAITING_FOR_KEYS_MAX};
use crate::quota::Turns;
use crate::runtime::{Background, BackgroundError, timeout};
use crate::telemetry::{KeyFetchEnd, Metrics};

/// The keys of one issuer, as far as they are known. Cheap to clone; crosses threads.
/// The thread ends when the last one of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Source {
    known: watch::Receiver<Known>,
    asks: Sender<()>,
    waiting: Turns,
}

/// What the thread says.
#[derive(Debug, Clone)]
struct Known {
    issuer: Arc<Issuer>,
    /// Fetches that have ended.
    rounds: u64,
    is_fetching: bool,
    /// From when on a token may have keys fetched.
    opens: Option<Instant>,
}

/// What came of waiting for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// A fetch has ended: look again.
    Done,
    /// None is made now, or none has ended in time.
    None,
    /// As many wait as may, of this client or of all.
    Crowded,
}

/// Goes up when the keys of any issuer change.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn rise(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// When the keys of each issuer were fetched. Shared by their threads.
#[derive(Debug, Clone)]
pub(super) struct Ages(Arc<[AtomicU64]>);

impl Ages {
    pub(super) fn of(sources: usize) -> Self {
        Self(
            std::iter::repeat_with(AtomicU64::default)
                .take(sources)
                .collect(),
        )
    }

    /// Keeps when the keys of one issuer were fetched; gives the oldest such time.
    fn set(&self, place: usize, unix_seconds: u64) -> u64 {
        if let Some(own) = self.0.get(place) {
            own.store(unix_seconds, Ordering::Relaxed);
        }
        let times = self.0.iter().map(|each| each.load(Ordering::Relaxed));
        times.min().unwrap_or_default()
    }
}

impl Source {
    /// Starts to fetch, at once and then as long as somebody wants to know.
    pub(super) fn start(
        keys: IssuerKeys,
        generation: Generation,
        (ages, place): (Ages, usize),
        metrics: Arc<Metrics>,
        background: &Background,
    ) -> Result<Self, BackgroundError> {
        let issuer = Issuer {
            name: keys.issuer.clone(),
            audiences: keys.audiences.clone(),
            keys: Vec::new(),
        };
        let (sender, known) = watch::channel(Known {
            issuer: Arc::new(issuer),
            rounds: 0,
            is_fetching: true,
            opens: None,
        });
        // One that waits stands for all.
        let (asks, asked) = flume::bounded(1);
        metrics.access.issuers_without_keys.rise();
        let work = move || {
            let clock = Clock::system();
            let worker = Worker {
                schedule: Schedule::new(keys.fetch.pace, clock.now()),
                keys,
                known: sender,
                asked,
                generation,
                ages,
                place,
                clock,
                metrics,
            };
            worker.run();
        };
        // Ends with the channel; a fetch may take its time, and nobody waits for it.
        drop(background.spawn("issuer-keys", work)?);
        Ok(Self {
            known,
            asks,
            waiting: Turns::new(WAITING_FOR_KEYS_MAX, CLIENT_WAITING_FOR_KEYS_MAX),
        })
    }

    /// The issuer, with the keys that are known now.
    pub(super) fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.known.borrow().issuer)
    }

    /// Has the keys fetched, unless that was done a moment ago, and waits until it is
    /// done. However many wait, one fetch is made.
    ///
    /// - Cancel: the fetch goes on.
    pub(super) async fn renewed(&self, client: IpAddr, now: Instant) -> Renewal {
        let mut known = self.known.clone();
        let rounds = {
            let known = known.borrow();
            if !known.is_fetching && known.opens.is_some_and(|opens| now < opens) {
                return Renewal::None;
            }
            known.rounds
        };
        let Some(_turn) = self.waiting.take(client) else {
            return Renewal::Crowded;
        };
        // Full when somebody has asked.
        let _ = self.asks.try_send(());
        let done = known.wait_for(|known| known.rounds != rounds);
        match timeout(KEYS_WAIT_MAX, done).await {
            Ok(Ok(_)) => Renewal::Done,
            Ok(Err(_)) | Err(_) => Renewal::None,
        }
    }
}

/// Fetches the keys of one issuer. Owned by its thread.
struct Worker {
    keys: IssuerKeys,
    schedule: Schedule,
    known: watch::Sender<Known>,
    asked: Receiver<()>,
    generation: Generation,
    ages: Ages,
    /// Among the issuers.
    place: usize,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let asked = self.asked.recv_deadline(self.schedule.wakes());
            let now = self.clock.now();
            let is_wanted = match asked {
                Ok(()) => self.schedule.is_open(now),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.schedule.end(now) {
                self.forget();
            }
            if is_wanted || self.schedule.is_due(now) {
                self.fetch(now);
            }
        }
    }

    fn fetch(&mut self, now: Instant) {
        self.schedule.begin(now);
        self.known.send_modify(|known| known.is_fetching = true);
        let fetched = fetch_keys(&self.keys);
        let now = self.clock.now();
        match fetched {
            Ok(fetched) => {
                self.schedule.succeed(now, fetched.fresh);
                self.take(fetched);
            }
            Err(error) => {
                self.schedule.fail(now);
                self.lament(&error);
            }
        }
        let opens = self.schedule.opens();
        self.known.send_modify(|known| {
            known.rounds += 1;
            known.is_fetching = false;
            known.opens = opens;
        });
    }

    fn take(&self, fetched: FetchedKeys) {
        let access = &self.metrics.access;
        access.issuer_key_fetches.of(KeyFetchEnd::Fetched).count();
        let oldest = self.ages.set(self.place, self.clock.unix_ms() / 1000);
        access.issuer_keys_fetched_unix_seconds.set(oldest);
        if self.known.borrow().issuer.keys == fetched.set.keys {
            return;
        }
        let (issuer, keys) = (&self.keys.issuer, fetched.set.keys.len());
        tracing::info!(%issuer, keys, "new keys of an issuer are in force");
        for key in &fetched.set.ignored {
            tracing::warn!(%issuer, %key, "a key of an issuer is ignored");
        }
        if self.known.borrow().issuer.keys.is_empty() {
            access.issuers_without_keys.fall();
        }
        self.put(fetched.set.keys);
    }

    /// The keys are too old.
    fn forget(&self) {
        let issuer = &self.keys.issuer;
        tracing::error!(%issuer, "the keys of an issuer are too old and count no more: its tokens are refused until it answers; `auth.jwks.stale_max` says for how long they count");
        self.metrics.access.issuers_without_keys.rise();
        self.put(Vec::new());
    }

    fn put(&self, keys: Vec<Key>) {
        self.known.send_modify(|known| {
            known.issuer = Arc::new(Issuer {
                name: self.keys.issuer.clone(),
                audiences: self.keys.audiences.clone(),
                keys,
            });
        });
        self.generation.rise();
    }

    /// Says what is wrong and what that means.
    fn lament(&self, error: &KeysError) {
        let fetches = &self.metrics.access.issuer_key_fetches;
        fetches.of(KeyFetchEnd::Failed).count();
        let issuer = &self.keys.issuer;
        if self.known.borrow().issuer.keys.is_empty() {
            tracing::error!(%issuer, %error, "the keys of an issuer cannot be fetched and there are no older ones: its tokens are refused until they can");
        } else {
            tracing::warn!(%issuer, %error, "the keys of an issuer cannot be fetched: those of the last time stay in force for a while");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let has_keys = !self.known.borrow().issuer.keys.is_empty();
        if std::thread::panicking() {
            // Nobody would end them.
            if has_keys {
                self.forget();
            }
        } else if !has_keys {
            self.metrics.access.issuers_without_keys.fall();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::poll_once;

    use super::*;
    use crate::runtime::run_alone;

    /// An issuer whose keys are being fetched, and who says when they are there.
    fn fetching() -> (Source, watch::Sender<Known>) {
        let (sender, known) = watch::channel(Known {
            issuer: Arc::new(Issuer {
                name: "auth".into(),
                audiences: Vec::new(),
                keys: Vec::new(),
            }),
            rounds: 0,
            is_fetching: true,
            opens: None,
        });
        let waiting = Turns::new(WAITING_FOR_KEYS_MAX, CLIENT_WAITING_FOR_KEYS_MAX);
        let (asks, _) = flume::bounded(1);
        let source = Source {
            known,
            asks,
            waiting,
        };
        (source, sender)
    }

    #[test]
    fn a_crowd_at_one_address_keeps_nobody_else_from_waiting_for_keys() {
        run_alone(|| async {
            let (source, issuer) = fetching();
            let now = Clock::system().now();
            let wait = |client: [u8; 4]| Box::pin(source.renewed(client.into(), now));
            let (crowd, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
            let mut held: Vec<_> = (0..CLIENT_WAITING_FOR_KEYS_MAX)
                .map(|_| wait(crowd))
                .collect();
            for one in &mut held {
                assert_eq!(poll_once(one).await, None);
            }
            assert_eq!(wait(crowd).await, Renewal::Crowded);
            let mut other = wait(other);
            assert_eq!(poll_once(&mut other).await, None);
            // Whoever hangs up leaves a place.
            drop(held.pop());
            held.push(wait(crowd));
            assert_eq!(poll_once(held.last_mut().unwrap()).await, None);
            issuer.send_modify(|known| known.rounds += 1);
            assert_eq!(other.await, Renewal::Done);
            for one in held {
                assert_eq!(one.await, Renewal::Done);
            }
        });
    }
}
