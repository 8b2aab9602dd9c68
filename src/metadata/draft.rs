//! The changes of one command while they are being decided.

use bytes::Bytes;

use super::delta::Delta;
use super::event::{Event, EventKind};
use super::key;
use super::overlay::Overlay;
use super::policy::Policy;
use super::record::{MARK, StateError};
use super::state_record::StateRecord;
use super::view::{View, ViewError};
use crate::base::Reader;
use crate::base::limits::EVENT_INDEXES_MAX;
use crate::oci::{Digest, Repository, Tag};

/// Old events removed by one command; the window moves by one index a command.
const PRUNED_EVENTS_MAX: u64 = 16;

/// Reads see what was written; nothing is stored before [`Draft::finish`].
pub(super) struct Draft<'a> {
    /// The state with the changes so far.
    pub(super) view: Overlay<'a>,
    /// Journal index of the command.
    pub(super) index: u64,
    /// Monotonic time of the command, in ms since the Unix epoch.
    pub(super) now_ms: u64,
    /// Clock, hash and counters; written at the end.
    pub(super) state: StateRecord,
}

impl<'a> Draft<'a> {
    /// Starts with the state as it is; time never runs backwards.
    pub(super) fn new(view: &'a dyn View, index: u64, time_ms: u64) -> Result<Self, StateError> {
        let state = StateRecord::read(view)?;
        let now_ms = state.clock_ms.max(time_ms);
        Ok(Self {
            view: Overlay::new(view),
            index,
            now_ms,
            state,
        })
    }

    /// Sets a key.
    pub(super) fn put(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        self.view.delta_mut().put(key, value);
    }

    /// Sets a key that says all itself.
    pub(super) fn mark(&mut self, key: Vec<u8>) {
        self.put(key, Bytes::from_static(MARK));
    }

    /// Removes a key.
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.view.delta_mut().delete(key);
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &[u8]) -> Result<bool, ViewError> {
        Ok(self.view.value(key)?.is_some())
    }

    /// The tails of all keys that start with `prefix`.
    pub(super) fn tails(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, ViewError> {
        let mut tails = Vec::new();
        self.view
            .scan(prefix, &key::end_of(prefix), &mut |key, _| {
                tails.extend(key.strip_prefix(prefix).map(<[u8]>::to_vec));
                true
            })?;
        Ok(tails)
    }

    /// Whether any key starts with `prefix`.
    pub(super) fn has_any(&self, prefix: &[u8]) -> Result<bool, ViewError> {
        let mut is_found = false;
        self.view.scan(prefix, &key::end_of(prefix), &mut |_, _| {
            is_found = true;
            false
        })?;
        Ok(is_found)
    }

    /// Makes the repository exist.
    pub(super) fn found(&mut self, repository: &Repository) -> Result<(), ViewError> {
        let key = key::repository(repository);
        if !self.has(&key)? {
            self.mark(key);
        }
        Ok(())
    }

    /// The rules of the longest prefix that has any.
    pub(super) fn policy(&self, repository: &Repository) -> Result<Policy, StateError> {
        if self.state.policies == 0 {
            return Ok(Policy::default());
        }
        let mut prefix = repository.as_str();
        loop {
            if let Some(record) = self.view.value(&key::policy(prefix))? {
                return Ok(Policy::decode(&mut Reader::new(&record))?);
            }
            if prefix.is_empty() {
                return Ok(Policy::default());
            }
            prefix = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Tells those who follow along; a command tells one thing.
    pub(super) fn tell(
        &mut self,
        kind: EventKind,
        repository: &Repository,
        digest: Option<Digest>,
        tags: Vec<Tag>,
    ) {
        let repository = repository.clone();
        let event = Event {
            kind,
            time_ms: self.now_ms,
            repository,
            digest,
            tags,
        };
        self.put(key::event(self.index), event.encode());
    }

    /// Ends the command: the changes with hash and clock, or nothing when nothing changed.
    pub(super) fn finish(mut self) -> Result<Delta, StateError> {
        if self.view.delta().is_empty() {
            return Ok(Delta::default());
        }
        self.prune_events()?;
        self.state.clock_ms = self.now_ms;
        self.state.chain(self.view.delta());
        let record = self.state.encode();
        self.put(key::STATE.to_vec(), record);
        Ok(self.view.into_delta())
    }

    /// Removes events that left the window. Point reads only: a scan would walk
    /// over the tombstones of everything removed before.
    fn prune_events(&mut self) -> Result<(), ViewError> {
        let window_start = self.index.saturating_sub(EVENT_INDEXES_MAX);
        let step_end = self.state.events_from.saturating_add(PRUNED_EVENTS_MAX);
        let end = window_start.min(step_end);
        for index in self.state.events_from..end {
            let key = key::event(index);
            if self.has(&key)? {
                self.delete(key);
            }
        }
        self.state.events_from = self.state.events_from.max(end);
        Ok(())
    }
}
