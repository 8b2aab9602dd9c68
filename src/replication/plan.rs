//! What to fetch next, and from whom. Pure: time and holders are given.
//!
//! ```text
//!          add, want             next                 ended
//!   -----------------> ready ----------> running ----------------> gone (sealed)
//!                       ^  |                |
//!             time is up|  |nobody can      |the source failed
//!                       |  v give it        |
//!                      resting <------------+
//! ```
//! Nothing falls out of the plan but by `ended`, `remove`, or the last `unwant` of a
//! blob that the state does not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::attempt::{Ended, Start, Urgency};
use super::blob_file::BlobFile;

/// First rest of a blob after a failure; doubled by each one that follows …
const REST_MIN: Duration = Duration::from_millis(100);
/// … up to this: what nobody can give is asked for once a minute …
pub(super) const REST_MAX: Duration = Duration::from_secs(60);
/// … unless somebody waits for it, who will not wait a minute.
const REST_URGENT_MAX: Duration = Duration::from_secs(1);
/// Nothing begins for so long after this node could not write.
const LOCAL_REST: Duration = Duration::from_secs(5);
/// The last part of so many of the backlog is for blobs that are told of: what is pushed
/// is copied also while all others are stuck.
const CHANGES_SHARES: usize = 8;
/// Doublings after which a rest has its longest value in any case.
const DOUBLINGS_MAX: u32 = 16;

/// How much may be under way or waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    /// No blob that nobody waits for begins while so many are being fetched.
    pub(super) background_fetches: usize,
    /// No blob at all begins while so many are.
    pub(super) fetches: usize,
    /// Blobs in the plan; beyond, those that nobody waits for are refused.
    pub(super) backlog: usize,
    /// Blobs in the plan that somebody waits for; further ones are refused.
    pub(super) wanted: usize,
}

/// Every blob that is missing here, and the nodes that could give them. Lives in the
/// coordinator.
#[derive(Debug)]
pub(super) struct Plan {
    caps: Caps,
    /// Numbers are given in the order of arrival.
    pub(super) numbers: HashMap<BlobFile, u64>,
    last_number: u64,
    pub(super) entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<(Urgency, u64)>,
    resting: BTreeSet<(Instant, u64)>,
    running_count: usize,
    wanted_count: usize,
    /// Those that the state has.
    known: BTreeSet<u64>,
    /// Entries that are stuck.
    stuck_count: usize,
    pub(super) sources: BTreeMap<u64, Source>,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Entry {
    file: BlobFile,
    /// Whether the state has the blob, so that it must come sooner or later.
    is_known: bool,
    /// How many wait for it.
    waiters: usize,
    pub(super) place: Place,
    pub(super) failures: u32,
    last_end: Option<Instant>,
    /// Nodes that are not asked for it before a time.
    pub(super) avoided: BTreeMap<u64, Instant>,
    /// Nodes whose last answer was that they do not have it, or have something else.
    pub(super) lacking: BTreeSet<u64>,
    /// Whether nobody could give it when it was last looked for whom to ask.
    is_stuck: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Ready(Urgency),
    Resting(Instant),
    Running { source: u64 },
}

/// What is known of a node as a source.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) running_count: usize,
    pub(super) failures: u32,
    pub(super) rests_until: Option<Instant>,
    /// When it first did not answer, if it has not answered since.
    pub(super) away_since: Option<Instant>,
}

impl Entry {
    const fn urgency(&self) -> Urgency {
        if self.waiters > 0 {
            Urgency::OnDemand
        } else {
            Urgency::Background
        }
    }

    /// Rest after the failures so far.
    pub(super) fn rest(&self) -> Duration {
        let longest = match self.urgency() {
            Urgency::OnDemand => REST_URGENT_MAX,
            Urgency::Background => REST_MAX,
        };
        doubled(REST_MIN, self.failures, longest)
    }
}

/// `first`, doubled once for every failure behind the first one.
pub(super) fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    first.saturating_mul(1 << doublings).min(longest)
}

impl Plan {
    /// Nothing to do.
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            numbers: HashMap::new(),
            last_number: 0,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            running_count: 0,
            wanted_count: 0,
            known: BTreeSet::new(),
            stuck_count: 0,
            sources: BTreeMap::new(),
            rests_until: None,
        }
    }

    /// Takes in a blob that the state has and this node lacks. `false` when the plan
    /// is full; then it must be offered again.
    pub(super) fn add(&mut self, file: BlobFile) -> bool {
        if !self.numbers.contains_key(&file) && self.entries.len() >= self.caps.backlog {
            return false;
        }
        let number = self.number(file);
        if let Some(entry) = self.entries.get_mut(&number)
            && !entry.is_known
        {
            entry.is_known = true;
            self.known.insert(number);
        }
        true
    }

    /// Somebody waits for a blob from now on, until [`Plan::unwant`]. `false` when too
    /// many blobs are waited for.
    pub(super) fn want(&mut self, file: BlobFile, now: Instant) -> bool {
        let number = self.numbers.get(&file).copied();
        let is_wanted = number
            .and_then(|number| self.entries.get(&number))
            .is_some_and(|entry| entry.waiters > 0);
        if !is_wanted && self.wanted_count >= self.caps.wanted {
            return false;
        }
        let number = self.number(file);
        let Some(entry) = self.entries.get_mut(&number) else {
            return false;
        };
        entry.waiters += 1;
        if entry.waiters > 1 {
            return true;
        }
        self.wanted_count += 1;
        // Not at once: each new client would have the same nodes asked again.
        let soonest = entry.last_end.map_or(now, |end| end + REST_URGENT_MAX);
        for until in entry.avoided.values_mut() {
            *until = soonest.min(*until);
        }
        let place = match entry.place {
            Place::Ready(_) => Place::Ready(Urgency::OnDemand),
            Place::Resting(due) => Place::Resting(due.min(soonest)),
            running @ Place::Running { .. } => running,
        };
        self.put(number, place);
        true
    }

    /// One less waits. A blob that the state does not know is forgotten with the last.
    pub(super) fn unwant(&mut self, file: BlobFile) {
        let Some(number) = self.numbers.get(&file).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        if entry.waiters == 0 {
            return;
        }
        entry.waiters -= 1;
        if entry.waiters > 0 {
            return;
        }
        self.wanted_count -= 1;
        let (place, is_known) = (entry.place, entry.is_known);
        match place {
            // What is under way goes on; its end decides.
            Place::Running { .. } => {}
            Place::Ready(_) if is_known => self.put(number, Place::Ready(Urgency::Background)),
            Place::Resting(_) if is_known => {}
            Place::Ready(_) | Place::Resting(_) => drop(self.forget(file)),
        }
    }

    /// Forgets a blob: it is there, or nobody may read it any more. Whether a fetch of
    /// it is under way, which the caller ends; its `ended` is still due.
    pub(super) fn remove(&mut self, file: BlobFile) -> bool {
        let Some(number) = self.numbers.get(&file).copied() else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(&number) else {
            return false;
        };
        if !matches!(entry.place, Place::Running { .. }) {
            drop(self.forget(file));
            return false;
        }
        if std::mem::take(&mut entry.is_known) {
            self.known.remove(&number);
        }
        if std::mem::take(&mut entry.waiters) > 0 {
            self.wanted_count -= 1;
        }
        true
    }

    /// The next fetch to begin, if one may. `holders` says who has a file, best first.
    pub(super) fn next(
        &mut self,
        now: Instant,
        mut holders: impl FnMut(&BlobFile) -> Vec<u64>,
    ) -> Option<Start> {
        if self.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        self.rests_until = None;
        self.wake(now);
        while let Some((urgency, number)) = self.ready.first().copied() {
            let most = match urgency {
                Urgency::OnDemand => self.caps.fetches,
                Urgency::Background => self.caps.background_fetches,
            };
            if self.running_count >= most {
                return None;
            }
            let file = self.entries.get(&number)?.file;
            let candidates = holders(&file);
            match self.choose(number, &candidates, now) {
                Ok(source) => {
                    self.put(number, Place::Running { source });
                    return Some(Start {
                        file,
                        source,
                        urgency,
                    });
                }
                Err(due) => {
                    self.note_stuck(number, &candidates, now);
                    self.put(number, Place::Resting(due));
                }
            }
        }
        None
    }

    /// Nobody may be asked for a blob now; whether anybody could give it.
    fn note_stuck(&mut self, number: u64, candidates: &[u64], now: Instant) {
        let is_stuck = self.is_stuck(number, candidates, now);
        if let Some(entry) = self.entries.get_mut(&number) {
            self.stuck_count -= usize::from(entry.is_stuck);
            self.stuck_count += usize::from(is_stuck);
            entry.is_stuck = is_stuck;
        }
    }

    /// A blob is coming from `source` without having been asked for; its `ended` is due.
    /// `false` when it is being fetched already, or is one too many: then what comes is
    /// nothing to the plan.
    pub(super) fn begin(&mut self, file: BlobFile, source: u64) -> bool {
        let is_new = !self.numbers.contains_key(&file);
        if self.is_running(&file) || (is_new && self.entries.len() >= self.caps.backlog) {
            return false;
        }
        let number = self.number(file);
        self.put(number, Place::Running { source });
        true
    }

    /// This node cannot write: nothing begins for a while.
    pub(super) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + LOCAL_REST);
    }

    /// A fetch that [`Plan::next`] began has ended.
    pub(super) fn ended(&mut self, file: BlobFile, how: Ended, now: Instant) {
        let number = self.numbers.get(&file).copied();
        let Some((number, entry)) =
            number.and_then(|number| Some((number, self.entries.get_mut(&number)?)))
        else {
            return;
        };
        let Place::Running { source } = entry.place else {
            return;
        };
        entry.last_end = Some(now);
        if how.has_moved() {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.avoid(source, how, now);
        let urgency = entry.urgency();
        let is_done = how == Ended::Sealed || (!entry.is_known && entry.waiters == 0);
        self.note_source(source, how, now);
        if how == Ended::LocalFailed {
            self.rest(now);
        }
        self.put(number, Place::Ready(urgency));
        if is_done {
            drop(self.forget(file));
        }
    }

    /// When [`Plan::next`] may have more to say without anything else happening.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.resting.first().map(|(due, _)| *due);
        match (first, self.rests_until) {
            (Some(due), Some(until)) => Some(due.max(until)),
            (None, Some(until)) if !self.ready.is_empty() => Some(until),
            (due, _) => due,
        }
    }

    /// Blobs that the state has and this node lacks, as far as they are in the plan.
    pub(super) fn known_count(&self) -> usize {
        self.known.len()
    }

    /// Numbers of such blobs from `first` to `last`, oldest first.
    pub(super) fn known_between(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let behind = self.known.range(first..).copied();
        behind.take_while(move |number| *number <= last)
    }

    /// The blob of a number.
    pub(super) fn file(&self, number: u64) -> Option<BlobFile> {
        self.entries.get(&number).map(|entry| entry.file)
    }

    /// The greatest number of all that was ever in the plan.
    pub(super) const fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Fetches under way.
    pub(super) const fn running_count(&self) -> usize {
        self.running_count
    }

    /// Blobs in the plan.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether more blobs may be looked for, so that there is still room for those that are
    /// told of. Those that nobody can give just now do not keep others from being found.
    pub(super) fn has_room(&self) -> bool {
        let most = self.caps.backlog;
        self.count() < most - most / CHANGES_SHARES && self.count() - self.stuck_count < most / 2
    }

    /// Whether a blob is in the plan.
    pub(super) fn contains(&self, file: &BlobFile) -> bool {
        self.numbers.contains_key(file)
    }

    /// Whether a fetch could begin now, but for the caps.
    pub(super) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || !self.resting.is_empty()
    }

    /// Whether a blob is being fetched.
    pub(super) fn is_running(&self, file: &BlobFile) -> bool {
        let number = self.numbers.get(file);
        let entry = number.and_then(|number| self.entries.get(number));
        entry.is_some_and(|entry| matches!(entry.place, Place::Running { .. }))
    }

    /// The number of a file, which is entered when it is new.
    fn number(&mut self, file: BlobFile) -> u64 {
        if let Some(number) = self.numbers.get(&file) {
            return *number;
        }
        self.last_number += 1;
        let number = self.last_number;
        self.numbers.insert(file, number);
        let entry = Entry {
            file,
            is_known: false,
            waiters: 0,
            place: Place::Ready(Urgency::Background),
            failures: 0,
            last_end: None,
            avoided: BTreeMap::new(),
            lacking: BTreeSet::new(),
            is_stuck: false,
        };
        self.entries.insert(number, entry);
        self.ready.insert((Urgency::Background, number));
        number
    }

    /// Moves an entry, and keeps every index of places right.
    pub(super) fn put(&mut self, number: u64, place: Place) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        match std::mem::replace(&mut entry.place, place) {
            Place::Ready(urgency) => drop(self.ready.remove(&(urgency, number))),
            Place::Resting(due) => drop(self.resting.remove(&(due, number))),
            Place::Running { source } => {
                self.running_count -= 1;
                if let Some(source) = self.sources.get_mut(&source) {
                    source.running_count -= 1;
                }
            }
        }
        match place {
            Place::Ready(urgency) => drop(self.ready.insert((urgency, number))),
            Place::Resting(due) => drop(self.resting.insert((due, number))),
            Place::Running { source } => {
                self.running_count += 1;
                self.sources.entry(source).or_default().running_count += 1;
            }
        }
    }

    fn forget(&mut self, file: BlobFile) -> Option<Entry> {
        let number = self.numbers.remove(&file)?;
        // Leaves no trace in the indexes of places but for this one.
        self.put(number, Place::Ready(Urgency::Background));
        self.ready.remove(&(Urgency::Background, number));
        let entry = self.entries.remove(&number)?;
        self.known.remove(&number);
        self.wanted_count -= usize::from(entry.waiters > 0);
        self.stuck_count -= usize::from(entry.is_stuck);
        Some(entry)
    }

    fn wake(&mut self, now: Instant) {
        while let Some((due, number)) = self.resting.first().copied() {
            if due > now {
                break;
            }
            let urgency = self.entries.get(&number).map(Entry::urgency);
            self.put(number, Place::Ready(urgency.unwrap_or(Urgency::Background)));
        }
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
