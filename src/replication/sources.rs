//! The sources of one blob while it is fetched: one is read from at the head, the
//! others bring what comes later into memory. One task drives all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::ahead::Extent;
use super::attempt::{Ended, Replaced};
use super::dispatch::SEVERAL_BYTES_MIN;
use super::feed::Stage;
use super::fetch::{FetchError, label, log};
use super::letter::{Fetch, Letter};
use super::pace::{JUDGED_TIME, Pace, Thirst};
use super::ranges::{Next, Ranges};
use super::replicator::Worker;
use super::sources_ahead::Flight;
use crate::base::limits::{EXTENT_BYTES, PEER_TRANSFER_STALL_TIMEOUT};
use crate::base::units::to_u64;
use crate::blob::{Import, ImportError};
use crate::peer::PeerNode;
use crate::runtime::{sleep, timeout};
use crate::telemetry::FetchFailure;
use crate::transfer::TransferRequest;

/// Who waits for its time looks so often whether somebody reads along by now.
const PACE_STEP: Duration = Duration::from_millis(250);

/// A source that sends nothing for so long is left for another one: a node that lives
/// needs milliseconds, and this much when its disk is busy or a connection to it loses
/// a packet. It is tried again later, and then left only when it fails.
const SILENCE_MAX: Duration = Duration::from_secs(2);
const _: () = assert!(SILENCE_MAX.as_secs() < PEER_TRANSFER_STALL_TIMEOUT.as_secs());

/// What happened first.
enum First<T> {
    Done(T),
    Late,
}

/// See the file's head. Lives as long as one order.
pub(super) struct Sources<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) order: &'a Fetch,
    pub(super) nodes: Vec<PeerNode>,
    pub(super) ranges: Ranges,
    /// By the number of the source.
    pub(super) flights: Vec<Option<Flight>>,
    /// Extents that came ahead, and from whom.
    pub(super) held: BTreeMap<u64, (usize, Extent)>,
    /// Sources that had no time since an extent was taken in.
    refusing: BTreeSet<usize>,
    /// Sources that sent nothing for too long, and no extent since.
    silent: BTreeSet<usize>,
    /// Extents that each source brought.
    brought: Vec<u64>,
    pace: Pace,
    thirst: Thirst,
    /// Whether nodes that had failed, or are busy no more, may join.
    may_grow: bool,
    has_read: bool,
}

impl<'a> Sources<'a> {
    pub(super) fn new(worker: &'a Rc<Worker>, order: &'a Fetch, import: &Import) -> Self {
        let nodes: Vec<_> = std::iter::once(&order.source)
            .chain(&order.others)
            .cloned()
            .collect();
        let extent = u64::from(EXTENT_BYTES);
        let head = import.held_bytes() / extent;
        let end = order.expected.size_bytes.div_ceil(extent);
        let limit = worker.shared.options().fetch_bytes_per_second();
        let may_grow = order.has_others && order.expected.size_bytes >= SEVERAL_BYTES_MIN;
        let now = worker.clock.now();
        Self {
            worker,
            order,
            ranges: Ranges::new(head, end, nodes.len(), may_grow),
            flights: nodes.iter().map(|_| None).collect(),
            held: BTreeMap::new(),
            refusing: BTreeSet::new(),
            silent: BTreeSet::new(),
            brought: vec![0; nodes.len()],
            pace: Pace::new(order.has_others, limit, now),
            thirst: Thirst::new(now),
            nodes,
            may_grow,
            has_read: false,
        }
    }

    /// Takes in the rest of the blob, up to the last byte.
    ///
    /// - Errors: of the last source that was left, or of this node.
    pub(super) async fn receive(mut self, import: &mut Import) -> Result<(), (u64, FetchError)> {
        while !import.is_whole() {
            self.look_for_others().await;
            self.begin_ahead();
            let (source, outcome) = match self.ranges.next() {
                Next::Read { source, extents } => {
                    self.has_read = true;
                    let read = Box::pin(self.read(import, source, extents)).await;
                    self.ranges.left(source);
                    (source, read)
                }
                Next::Take { source } => (source, self.take(import, source).await),
                Next::Wait => {
                    self.wait_for_one().await;
                    continue;
                }
                Next::Outdo { source } => (source, Err(FetchError::Outdone)),
            };
            if let Err(error) = outcome {
                let node = self.nodes.get(source).map_or(0, |node| node.id);
                let failed = self.fail(source, error);
                failed.map_err(|error| (node, error))?;
                let rewound = import.rewind().await;
                rewound.map_err(|error| (node, error.into()))?;
            }
        }
        Ok(())
    }

    /// Between the runs of a source that is alone: whether it is any more.
    async fn look_for_others(&mut self) {
        if self.may_grow && self.has_read && self.ranges.alive_count() < 2 {
            self.find_others().await;
        }
    }

    /// Takes in who else has the blob by now.
    async fn find_others(&mut self) {
        let last = self.ranges.any_alive();
        let last = last.and_then(|last| self.nodes.get(last)).map(|one| one.id);
        let others = self.worker.shared.others(self.order.file()).await;
        for node in others.into_iter().filter(|node| Some(node.id) != last) {
            self.nodes.push(node);
            self.flights.push(None);
            self.brought.push(0);
            self.ranges.add();
        }
    }

    /// Reads extents from a source into the file.
    async fn read(
        &mut self,
        import: &mut Import,
        source: usize,
        extents: Range<u64>,
    ) -> Result<(), FetchError> {
        let request = self.request(&extents);
        let node = self.node(source).clone();
        self.pace.change_source();
        let worker = self.worker;
        let mut extent_began = self.now();
        let mut extent_waited = Duration::ZERO;
        let asking = worker.transfers.fetch(&node, &request);
        let mut incoming = self.wait_for_answer(source, asking).await??;
        self.refusing.remove(&source);
        self.check_size(incoming.size())?;
        while incoming.left_bytes() > 0 {
            let held_before = import.held_bytes() / u64::from(EXTENT_BYTES);
            let space = import.space().await?;
            let reading = incoming.read(space);
            let reading = self.wait_for(source, &mut extent_waited, reading);
            let (read, waited) = reading.await?;
            let count = read?;
            let metrics = &worker.shared.metrics().replication;
            metrics.received(node.id, to_u64(count));
            import.advance(count).await?;
            self.tell(import)?;
            let is_whole = import.is_whole();
            let is_slow = self.pace.note(to_u64(count), waited, is_whole);
            let is_extent_done =
                is_whole || import.held_bytes() / u64::from(EXTENT_BYTES) > held_before;
            if is_extent_done {
                let took = self.now() - extent_began;
                let bytes = self.extent_bytes(held_before);
                self.ranges.measured(source, bytes, took);
                self.took(source);
                (extent_began, extent_waited) = (self.now(), Duration::ZERO);
            }
            if is_slow {
                return Err(FetchError::Slow);
            }
            // Not the source's time.
            extent_began += self.keep_pace().await;
        }
        Ok(())
    }

    /// Waits until a source at the head has answered, or gives up by itself: it may be
    /// far away, and yet as fast as others.
    ///
    /// - Errors: `Silent`.
    async fn wait_for_answer<T>(
        &mut self,
        source: usize,
        asking: impl Future<Output = T>,
    ) -> Result<T, FetchError> {
        let mut asking = pin!(asking);
        let mut waited = Duration::ZERO;
        loop {
            let asked = self.now();
            let limit = self.may_leave(source).then_some(JUDGED_TIME);
            let answered = self.beside(asking.as_mut(), limit).await;
            let took = self.now() - asked;
            waited += took;
            self.waited(took);
            if let First::Done(answer) = answered {
                return Ok(answer);
            }
            self.check_silence(source, waited).await?;
        }
    }

    /// Whether there is a reason to look up while a source is waited for.
    fn may_leave(&self, source: usize) -> bool {
        let is_new = self.order.has_others && !self.silent.contains(&source);
        is_new || self.ranges.alive_count() > 1
    }

    /// - Errors: `Silent`, when nothing came for too long and somebody else has the blob.
    async fn check_silence(&mut self, source: usize, waited: Duration) -> Result<(), FetchError> {
        if waited < SILENCE_MAX || !self.silent.insert(source) {
            return Ok(());
        }
        if self.ranges.alive_count() < 2 {
            self.find_others().await;
        }
        if self.ranges.alive_count() < 2 {
            return Ok(());
        }
        Err(FetchError::Silent)
    }

    /// Notes that bytes were waited for; others may help then.
    fn waited(&mut self, took: Duration) {
        self.thirst.waited(took);
        if self.ranges.alive_count() > 1 {
            self.judge(0);
            self.begin_ahead();
        }
    }

    /// Waits for a source at the head, for as long as it is worth it; says how long that
    /// was. `waited` is what was waited for the same extent.
    async fn wait_for<T>(
        &mut self,
        source: usize,
        waited: &mut Duration,
        work: impl Future<Output = T>,
    ) -> Result<(T, Duration), FetchError> {
        let mut work = pin!(work);
        let mut waited_here = Duration::ZERO;
        loop {
            let patience = self.ranges.patience(source);
            let left = patience.map_or(JUDGED_TIME, |most| most.saturating_sub(*waited));
            let limit = self.may_leave(source);
            let limit = limit.then_some(left.min(JUDGED_TIME));
            let asked = self.now();
            let done = self.beside(work.as_mut(), limit).await;
            let took = self.now() - asked;
            waited_here += took;
            *waited += took;
            self.waited(took);
            match done {
                First::Done(done) => return Ok((done, waited_here)),
                First::Late if patience.is_some_and(|most| *waited >= most) => {
                    return Err(FetchError::Outdone);
                }
                First::Late => self.check_silence(source, waited_here).await?,
            }
        }
    }

    /// Takes in an extent that came ahead of its turn.
    async fn take(&mut self, import: &mut Import, source: usize) -> Result<(), FetchError> {
        let number = import.held_bytes() / u64::from(EXTENT_BYTES);
        let held = self.held.remove(&number);
        let (_, extent) = held.expect("invariant: what the ranges have here is held");
        for piece in extent.pieces() {
            let mut rest = piece;
            while !rest.is_empty() {
                let space = import.space().await?;
                let count = space.len().min(rest.len());
                let (now, later) = rest.split_at(count);
                space.split_at_mut(count).0.copy_from_slice(now);
                rest = later;
                import.advance(count).await?;
            }
        }
        let bytes = extent.bytes();
        drop(extent);
        self.tell(import)?;
        self.pace.note(bytes, Duration::ZERO, import.is_whole());
        self.took(source);
        self.keep_pace().await;
        Ok(())
    }

    /// An extent was taken in.
    fn took(&mut self, source: usize) {
        self.ranges.took();
        self.refusing.clear();
        self.silent.remove(&source);
        if let Some(brought) = self.brought.get_mut(source) {
            *brought += 1;
        }
        self.judge(1);
        self.begin_ahead();
    }

    fn judge(&mut self, extents: u32) {
        let now = self.now();
        self.ranges.help(self.thirst.judge(extents, now));
    }

    /// Waits until something that was asked for ahead is here, or is not to come.
    async fn wait_for_one(&mut self) {
        let asked = self.now();
        poll_fn(|context| {
            if self.poll_flights(context) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.thirst.waited(self.now() - asked);
        self.judge(0);
    }

    /// Waits where more came than may, until somebody reads along; says how long. What
    /// came while somebody did is not made up for later.
    async fn keep_pace(&mut self) -> Duration {
        let began = self.now();
        loop {
            let now = self.now();
            if self.order.feed.is_heard() {
                self.pace.begin(now);
                return now - began;
            }
            let Some(early) = self.pace.early_by(now) else {
                return now - began;
            };
            self.beside(sleep(early.min(PACE_STEP)), None).await;
        }
    }

    pub(super) fn node(&self, source: usize) -> &PeerNode {
        self.nodes.get(source).unwrap_or(&self.order.source)
    }

    /// Does something at the head while the flights go on; gives it up after `limit`.
    async fn beside<T>(
        &mut self,
        work: impl Future<Output = T>,
        limit: Option<Duration>,
    ) -> First<T> {
        let mut work = pin!(work);
        let working = poll_fn(|context| {
            let done = work.as_mut().poll(context);
            if done.is_pending() {
                self.poll_flights(context);
            }
            done
        });
        match limit {
            None => First::Done(working.await),
            Some(limit) => match timeout(limit, working).await {
                Ok(done) => First::Done(done),
                Err(_) => First::Late,
            },
        }
    }

    /// A source failed, or is not worth waiting for.
    ///
    /// - Errors: there is no other one, none has time, or it is not to blame.
    pub(super) fn fail(&mut self, source: usize, error: FetchError) -> Result<(), FetchError> {
        let brought = self.brought.get(source).copied().unwrap_or(0);
        let (how, reason) = error.classify(brought > 0);
        if how == Ended::LocalFailed || self.ranges.alive_count() < 2 {
            return Err(error);
        }
        let is_busy = reason == FetchFailure::Busy;
        if is_busy {
            self.refusing.insert(source);
            if self.refusing.len() >= self.ranges.alive_count() {
                return Err(error);
            }
        }
        if let Some(flight) = self.flights.get_mut(source) {
            *flight = None;
        }
        let metrics = &self.worker.shared.metrics().replication;
        metrics.failed(self.node(source).id, reason);
        if is_busy || matches!(error, FetchError::Outdone) {
            self.ranges.outdone(source);
            return Ok(());
        }
        if matches!(error, FetchError::Silent) {
            self.silent.insert(source);
            self.ranges.outdone(source);
            self.report(source, &error, how);
            return Ok(());
        }
        self.refusing.remove(&source);
        if how == Ended::SourceLied {
            self.ranges.lied(source);
            self.held.retain(|_, (from, _)| *from != source);
        } else {
            self.ranges.failed(source);
        }
        self.report(source, &error, how);
        Ok(())
    }

    /// Tells the coordinator of a source that failed while others go on.
    fn report(&self, source: usize, error: &FetchError, how: Ended) {
        let id = |number: usize| self.nodes.get(number).map(|node| node.id);
        let successor = self.ranges.any_alive_but(source).and_then(id);
        let (Some(failed), Some(successor)) = (id(source), successor) else {
            return;
        };
        log(self.order, failed, error, how);
        let metrics = &self.worker.shared.metrics().replication;
        metrics.fetches.of(label(how)).count();
        let who = Replaced {
            source: failed,
            how,
            successor,
        };
        let file = self.order.file();
        let letter = Letter::Replaced { file, who };
        // Without a coordinator the process ends.
        drop(self.worker.shared.letters().0.send(letter));
    }

    /// How long a source may take to answer a question ahead of its turn.
    pub(super) fn answer_limit(&self, source: usize) -> Option<Duration> {
        (!self.silent.contains(&source)).then_some(SILENCE_MAX)
    }

    pub(super) fn request(&self, extents: &Range<u64>) -> TransferRequest {
        let expected = &self.order.expected;
        let extent = u64::from(EXTENT_BYTES);
        let offset = extents.start * extent;
        let end = (extents.end * extent).min(expected.size_bytes);
        TransferRequest {
            digest: expected.digest,
            generation: expected.generation,
            offset,
            bytes: end - offset,
        }
    }

    /// Bytes of one extent: all but the last one are whole.
    pub(super) fn extent_bytes(&self, number: u64) -> u64 {
        let extent = u64::from(EXTENT_BYTES);
        let left = self
            .order
            .expected
            .size_bytes
            .saturating_sub(number * extent);
        left.min(extent)
    }

    const fn check_size(&self, found_bytes: u64) -> Result<(), FetchError> {
        let size_bytes = self.order.expected.size_bytes;
        if found_bytes == size_bytes {
            return Ok(());
        }
        Err(FetchError::Size {
            size_bytes,
            found_bytes,
        })
    }

    fn tell(&self, import: &mut Import) -> Result<(), ImportError> {
        self.order.feed.tell(Stage::Building {
            id: import.id(),
            readable_bytes: import.readable_bytes()?,
        });
        Ok(())
    }

    pub(super) fn now(&self) -> Instant {
        self.worker.clock.now()
    }
}
