//! Decides for the whole node what is fetched, from whom and when. One task, on the
//! first shard; whoever wants something of it writes a letter.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;

use super::announce::{Announced, Said};
use super::attempt::Ended;
use super::blob_file::BlobFile;
use super::candidates::is_live;
use super::feed::{Feed, Stage};
use super::filled::Watermark;
use super::leaving::LeavingFiles;
use super::letter::{Answer, Interest, Letter, Order, Want};
use super::message::NOBODY_ID;
use super::plan::{Caps, Plan};
use super::replicator::Worker;
use super::survey::Survey;
use crate::base::units::to_u64;
use crate::metadata;
use crate::raft::{BlobChange, StateView};
use crate::runtime::{timeout, yield_if_needed};

/// Missing blobs in the plan; about 40 MiB. Further ones are found again in the state
/// when there is room.
const BACKLOG_BLOBS_MAX: usize = 65_536;
/// Blobs that somebody waits for; a question beyond is answered busy.
const WANTED_BLOBS_MAX: usize = 4096;
/// News of this node's blobs that are not written down yet, about 3 MB; the state is not
/// looked through for more while so many wait.
const ANNOUNCED_BLOBS_MAX: usize = 65_536;
/// It is looked so often whether there is room again.
const ROOM_LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Letters or changes read before something else gets a turn.
const BATCH_LETTERS_MAX: usize = 256;

/// See the file's head.
pub(super) struct Coordinator {
    pub(super) worker: Rc<Worker>,
    pub(super) plan: Plan,
    /// One for each blob in the plan.
    pub(super) entries: BTreeMap<BlobFile, Entry>,
    /// Blobs in the plan that come without having been fetched.
    coming: BTreeSet<BlobFile>,
    pub(super) survey: Survey,
    /// What the state does not know of the blobs of this node.
    pub(super) announced: flume::Sender<Said>,
    pub(super) leaving: LeavingFiles,
    pub(super) filled: Watermark,
}

/// What the plan need not know of a blob.
pub(super) struct Entry {
    pub(super) size_bytes: u64,
    pub(super) origin: Option<u64>,
    pub(super) extent_checksums: Option<Arc<[u32]>>,
    pub(super) feed: Feed,
}

impl Entry {
    fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            origin: None,
            extent_checksums: None,
            feed: Feed::new(),
        }
    }

    /// Takes over what somebody knows who wants the blob. Who knows of no holder, or of no
    /// checksums, takes nothing from what others knew.
    fn learn(&mut self, want: &Want) {
        let origin = want.origin.filter(|origin| *origin != NOBODY_ID);
        self.origin = origin.or(self.origin);
        let checksums = want.extent_checksums.as_ref();
        if let Some(checksums) = checksums.filter(|checksums| !checksums.is_empty()) {
            self.extent_checksums = Some(Arc::clone(checksums));
        }
    }
}

/// What wakes the coordinator.
enum Event {
    Letter(Letter),
    Change(BlobChange),
    /// Somebody asks how far this node is.
    Asked,
    Due,
    End,
}

impl Coordinator {
    pub(super) fn new(worker: Rc<Worker>, announced: flume::Sender<Said>) -> Self {
        let options = worker.shared.options();
        let caps = Caps {
            background_fetches: options.background_fetches_max.max(1),
            fetches: options
                .fetches_max
                .max(options.background_fetches_max)
                .max(1),
            backlog: BACKLOG_BLOBS_MAX,
            wanted: WANTED_BLOBS_MAX,
        };
        Self {
            worker,
            plan: Plan::new(caps),
            entries: BTreeMap::new(),
            coming: BTreeSet::new(),
            survey: Survey::due(),
            announced,
            leaving: LeavingFiles::default(),
            filled: Watermark::default(),
        }
    }

    /// Runs for as long as its task lives.
    pub(super) async fn run(mut self) {
        loop {
            match self.next_event().await {
                Event::Letter(letter) => self.read_letters(letter).await,
                Event::Change(change) => {
                    // It has left the queue and is not in the plan yet.
                    self.worker.shared.set_unsure(true);
                    self.worker.shared.metrics().replication.surveyed.set(0);
                    self.read_changes(change).await;
                }
                Event::Asked => self.tell_filled(),
                Event::Due => {}
                Event::End => return,
            }
            if self.is_surveying() {
                self.survey_page().await;
            }
            self.dispatch();
            self.show();
            yield_if_needed().await;
        }
    }

    /// Waits for the next event; letters first, because somebody waits for them.
    async fn next_event(&self) -> Event {
        let shared = &self.worker.shared;
        let (_, letters) = shared.letters();
        let changes = shared.blob_changes();
        if self.is_surveying() {
            return match (letters.try_recv(), changes.try_recv()) {
                (Ok(letter), _) => Event::Letter(letter),
                (Err(_), Ok(change)) => Event::Change(change),
                (Err(_), Err(_)) => Event::Due,
            };
        }
        let written = async { letters.recv_async().await.map_or(Event::End, Event::Letter) };
        let changed = async {
            match changes.recv_async().await {
                Ok(change) => Event::Change(change),
                // Consensus has ended; requests under way may still fetch.
                Err(_) => std::future::pending().await,
            }
        };
        let asked = async {
            shared.fill().asked().await;
            Event::Asked
        };
        // Asked last, when no change waits: the answer says more then.
        let happened = or(or(written, changed), asked);
        let now = self.worker.clock.now();
        let wait = self
            .plan
            .due()
            .map(|due| due.saturating_duration_since(now));
        let look = Some(ROOM_LOOK_PERIOD).filter(|_| self.survey.is_due());
        match wait.into_iter().chain(look).min() {
            Some(wait) => timeout(wait, happened).await.unwrap_or(Event::Due),
            None => happened.await,
        }
    }

    /// Whether the state is to be gone through, and there is room for what is found.
    fn is_surveying(&self) -> bool {
        self.survey.is_due() && self.plan.has_room() && self.announced.len() < ANNOUNCED_BLOBS_MAX
    }

    async fn read_letters(&mut self, first: Letter) {
        self.read(first).await;
        let shared = self.worker.shared.clone();
        for letter in shared.letters().1.try_iter().take(BATCH_LETTERS_MAX) {
            self.read(letter).await;
        }
    }

    async fn read(&mut self, letter: Letter) {
        match letter {
            Letter::Want { want, reply } => {
                let answer = self.want(want).await;
                // An answer that nobody waits for takes its interest back.
                drop(reply.send(answer));
            }
            Letter::Unwant(file) => {
                self.plan.unwant(file);
                self.tidy(&file);
            }
            Letter::Ended { file, how } => self.ended(file, how),
            Letter::Replaced { file, who } => {
                self.plan.replaced(file, who, self.worker.clock.now());
            }
            Letter::Others { file, reply } => {
                let shared = &self.worker.shared;
                let (view, own) = (shared.journal().view(), shared.options().node);
                let others = self.others(&file, &view, &shared.peers().others(own));
                // Who has asked may have ended.
                drop(reply.send(others));
            }
            Letter::Coming {
                file,
                size_bytes,
                source,
            } => {
                if self.plan.begin(file, source) {
                    self.entry(file, size_bytes);
                    self.coming.insert(file);
                }
            }
            Letter::Came { file, how } => self.came(file, how),
            Letter::Sound(file) => {
                let view = self.worker.shared.journal().view();
                self.announce(&view, &file, true);
            }
            Letter::Leaving { file, reply } => self.leave(file, reply),
            Letter::Settled { file, has_moved } => self.settle(&file, has_moved).await,
        }
    }

    async fn want(&mut self, want: Want) -> Answer {
        let file = want.file;
        if !self.plan.contains(&file) {
            let store = &self.worker.store;
            let here = store.is_durable(&file.digest, file.generation, want.size_bytes);
            match here.await {
                Ok(true) => return Answer::Here,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, digest = %file.digest, "a blob cannot be looked for");
                    return Answer::Busy;
                }
            }
        }
        if !self.worker.shared.has_room() && !self.plan.is_running(&file) {
            return Answer::NoRoom;
        }
        if !self.plan.want(file, self.worker.clock.now()) {
            return Answer::Busy;
        }
        let view = self.worker.shared.journal().view();
        if matches!(is_live(&view, &file), Ok(true)) {
            // It has gone missing, and is to come also when nobody waits any more. No
            // other node may rely on this copy until then.
            self.announce(&view, &file, false);
            self.plan.add(file);
        }
        let entry = self.entry(file, want.size_bytes);
        entry.learn(&want);
        let listener = entry.feed.listen();
        let letters = self.worker.shared.letters().0.clone();
        Answer::Coming(Interest { file, letters }, listener)
    }

    fn ended(&mut self, file: BlobFile, how: Ended) {
        self.plan.ended(file, how, self.worker.clock.now());
        if how == Ended::Sealed {
            self.announce_sealed(&file);
        }
        if let Some(entry) = self.entries.get_mut(&file)
            && entry.feed.stage() == Stage::Corrupt
        {
            // Who has read of it must not read on in what comes next.
            entry.feed = Feed::new();
        }
        self.tidy(&file);
    }

    /// A blob that came without having been fetched is durable, or is not.
    fn came(&mut self, file: BlobFile, how: Ended) {
        if !self.coming.remove(&file) {
            // It is being fetched, too.
            return;
        }
        if how == Ended::Sealed
            && let Some(entry) = self.entries.get(&file)
        {
            entry.feed.tell(Stage::Sealed);
        }
        self.ended(file, how);
    }

    async fn read_changes(&mut self, first: BlobChange) {
        let changes = self.worker.shared.blob_changes().clone();
        let rest = changes.try_iter().take(BATCH_LETTERS_MAX);
        // Each says all about its blob, so that the last one is enough.
        let mut last = BTreeMap::new();
        for change in std::iter::once(first).chain(rest) {
            match change {
                BlobChange::Everything => self.survey.restart(),
                BlobChange::Blob(changed) => drop(last.insert(changed.digest, changed)),
            }
        }
        let mut live = Vec::new();
        for (digest, changed) in last {
            let file = BlobFile {
                digest,
                generation: changed.generation,
            };
            self.forget_older(&file, !changed.is_live);
            if changed.is_live {
                live.push((file, changed.size_bytes));
            }
        }
        self.look_at(live).await;
    }

    /// Takes in which of `files`, all of them live, are here and which are not.
    pub(super) async fn look_at(&mut self, files: Vec<(BlobFile, u64)>) {
        let under_way = |(file, _): &(BlobFile, u64)| self.plan.is_running(file);
        let (running, others): (Vec<_>, Vec<_>) = files.into_iter().partition(under_way);
        for (file, size_bytes) in running {
            self.missing(file, size_bytes);
        }
        let Some(found) = self.survey.find(&self.worker.store, others).await else {
            return;
        };
        let view = self.worker.shared.journal().view();
        for (file, size_bytes, is_here) in found {
            if is_here {
                self.here(&view, file);
            } else {
                self.announce(&view, &file, false);
                self.missing(file, size_bytes);
            }
        }
    }

    /// A blob that the state has and this node lacks.
    pub(super) fn missing(&mut self, file: BlobFile, size_bytes: u64) {
        if self.plan.add(file) {
            self.entry(file, size_bytes);
        } else {
            self.survey.restart();
        }
    }

    /// A blob that the state and this node have.
    fn here(&mut self, view: &StateView, file: BlobFile) {
        if self.plan.contains(&file) && !self.plan.is_running(&file) {
            self.plan.remove(file);
            if let Some(entry) = self.entries.remove(&file) {
                entry.feed.tell(Stage::Sealed);
            }
        }
        self.announce(view, &file, true);
    }

    /// Forgets earlier generations of a blob, and this one too when it is condemned.
    fn forget_older(&mut self, file: &BlobFile, is_condemned: bool) {
        let first = BlobFile {
            generation: 0,
            ..*file
        };
        let all = self.entries.range(first..=*file);
        let gone = all.map(|(gone, _)| *gone);
        let gone: Vec<_> = gone.filter(|gone| is_condemned || gone != file).collect();
        for file in gone {
            self.plan.remove(file);
            self.entries.remove(&file);
            self.worker.shared.order(&file, Order::Forget(file));
        }
    }

    /// Has it written down whether this node holds a blob, unless it is.
    fn announce(&mut self, view: &StateView, file: &BlobFile, is_here: bool) {
        if is_here && self.leaving.hushes(file) {
            return;
        }
        let own = self.worker.shared.options().node;
        let is_news = || -> Result<bool, metadata::StateError> {
            let is_told = metadata::is_holder(view, &file.digest, own)?;
            Ok(is_told != is_here && is_live(view, file)?)
        };
        match is_news() {
            Ok(true) => {
                if !is_here {
                    self.withdraw_claim();
                }
                self.say(file, is_here);
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the applied state cannot be read"),
        }
    }

    /// Has it written down that this node holds a blob, whatever is written: that it
    /// does not may be on its way there.
    fn announce_sealed(&mut self, file: &BlobFile) {
        if self.leaving.hushes(file) {
            return;
        }
        match is_live(&self.worker.shared.journal().view(), file) {
            Ok(true) => self.say(file, true),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the applied state cannot be read"),
        }
    }

    /// Has it written down whether this node holds a blob, behind all that was said.
    pub(super) fn say(&self, file: &BlobFile, is_here: bool) {
        let digest = file.digest;
        self.worker.shared.metrics().replication.unsaid_blobs.rise();
        // The task that reads lives as long as this one.
        drop(
            self.announced
                .send(Said::Holds(Announced { digest, is_here })),
        );
    }

    fn entry(&mut self, file: BlobFile, size_bytes: u64) -> &mut Entry {
        let entries = &mut self.entries;
        entries
            .entry(file)
            .or_insert_with(|| Entry::new(size_bytes))
    }

    /// Lets go of what belongs to a blob that the plan has forgotten, parts of it too.
    pub(super) fn tidy(&mut self, file: &BlobFile) {
        if !self.plan.contains(file) && self.entries.remove(file).is_some() {
            self.worker.shared.order(file, Order::Forget(*file));
        }
    }

    fn show(&self) {
        let metrics = &self.worker.shared.metrics().replication;
        let running = self.plan.running_count();
        metrics.missing_blobs.set(to_u64(self.plan.known_count()));
        self.worker.shared.set_unsure(self.survey.is_due());
        metrics.fetching_blobs.set(to_u64(running));
        metrics.surveyed.set(u64::from(
            !self.survey.is_due() && self.worker.shared.blob_changes().is_empty(),
        ));
        metrics
            .queued_blobs
            .set(to_u64(self.plan.count() - running));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest};

    #[test]
    fn who_knows_less_takes_nothing_from_what_is_known() {
        let file = BlobFile {
            digest: Digest::of(Algorithm::Sha256, b"blob"),
            generation: 1,
        };
        let want = |origin, checksums: Option<&[u32]>| Want {
            origin,
            extent_checksums: checksums.map(Arc::from),
            ..Want::of(&file, 4)
        };
        let mut entry = Entry::new(4);
        // Then the state is asked for them.
        entry.learn(&want(Some(NOBODY_ID), Some(&[])));
        assert_eq!(
            (entry.origin, entry.extent_checksums.as_deref()),
            (None, None)
        );
        entry.learn(&want(Some(3), Some(&[7])));
        for less in [want(None, None), want(Some(NOBODY_ID), Some(&[]))] {
            entry.learn(&less);
            assert_eq!(entry.origin, Some(3));
            assert_eq!(entry.extent_checksums.as_deref(), Some(&[7][..]));
        }
        entry.learn(&want(Some(4), None));
        assert_eq!(entry.origin, Some(4));
    }
}
