//! Clients that push and pull at random nodes and write down what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::gone::Gone;
use super::history::{Action, Operation};
use super::kept::{Kept, KeptBlob};
use super::spells::{Faults, Spells};
use crate::support::{
    Client, MANIFEST_TYPE, Random, Request, Response, digest_of, image, location,
};

/// A silent node is given up after this, so that a run under faults gets on.
const PATIENCE: Duration = Duration::from_secs(12);
/// Operations on one tag before the next one is used; the checker's bound is 128.
const OPERATIONS_PER_TAG: u32 = 60;
/// Clients that are told to leave the cluster room to catch up rest so long.
const REST: Duration = Duration::from_millis(150);
/// Tags in use at the same time.
const TAGS: usize = 3;
/// So many failures are written down; under faults there are many.
const FAILURES_MAX: usize = 20;
/// The repository of the run.
pub(crate) const REPOSITORY: &str = "nemesis/app";
/// Where blobs are mounted to.
pub(crate) const MOUNTS: &str = "nemesis/mounted";
/// What a 500 may say: the only one whose outcome is not known, in so many words.
const UNDECIDED: &str = "the change was not confirmed in time";

/// An upload that somebody has begun, and the node that owns it.
#[derive(Debug, Clone, Copy)]
struct Session {
    owner: SocketAddr,
    /// When it was asked for, as operations are timed.
    begun: u64,
}

/// What all clients wrote down.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Operations by tag.
    pub(crate) tags: BTreeMap<String, Vec<Operation>>,
    /// Images whose manifest was acknowledged.
    pub(crate) kept: Vec<Kept>,
    /// Blobs whose mount was acknowledged.
    pub(crate) mounted: Vec<KeptBlob>,
    /// Images whose delete by digest was acknowledged.
    pub(crate) gone: Vec<Gone>,
    /// When nodes may have been kept from a quorum.
    pub(crate) outages: Spells,
    /// When faults were on.
    pub(crate) faults: Faults,
    /// Answers with what is gone that an outage explains.
    pub(crate) served_without_quorum: u64,
    /// Nodes that were removed with their disks, and when they had ended.
    removed: Vec<(SocketAddr, u64)>,
    /// Numbers of manifests by digest.
    numbers: BTreeMap<String, u32>,
    /// Answers that no rule allows.
    pub(crate) wrong: Vec<String>,
    /// Operations that ended well.
    pub(crate) succeeded: u64,
    /// Operations of unknown outcome, or refused for now.
    pub(crate) failed: u64,
    /// The first ones of them.
    pub(crate) failures: Vec<String>,
}

/// What the clients of one run share.
pub(crate) struct Run {
    /// When it began.
    began: Instant,
    /// Where the nodes are now.
    addresses: Mutex<Vec<SocketAddr>>,
    /// Shared by all operations under way.
    under_way: RwLock<()>,
    /// Set when the clients are to end.
    pub(crate) is_over: AtomicBool,
    /// Set while the cluster catches up: more nodes than processors write every blob.
    pub(crate) is_gentle: AtomicBool,
    operations: AtomicU32,
    manifests: AtomicU32,
    /// See [`Log`].
    pub(crate) log: Mutex<Log>,
}

impl Run {
    /// A run against these nodes.
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            addresses: Mutex::new(addresses),
            under_way: RwLock::default(),
            is_over: AtomicBool::new(false),
            is_gentle: AtomicBool::new(false),
            operations: AtomicU32::new(0),
            manifests: AtomicU32::new(1),
            log: Mutex::default(),
        })
    }

    /// Nodes have come or gone.
    pub(crate) fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        *lock(&self.addresses) = addresses;
    }

    /// Waits until no operation is under way; none begins as long as this is held.
    pub(crate) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.under_way
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A node is about to be removed, with what only it has. Until it has ended it may
    /// begin further uploads.
    pub(crate) fn begin_removal(&self, address: SocketAddr) {
        self.log().removed.push((address, u64::MAX));
    }

    /// It has ended.
    pub(crate) fn end_removal(&self) {
        let now = self.now();
        if let Some((_, until)) = self.log().removed.last_mut() {
            *until = now;
        }
    }

    /// Works until the run is over.
    pub(crate) fn work(&self, seed: u64) {
        let mut random = Random::new(seed);
        while !self.is_over.load(Ordering::Relaxed) {
            if self.is_gentle.load(Ordering::Relaxed) {
                thread::sleep(REST);
            }
            let _under_way = self.under_way.read();
            let mut client = self.client(&mut random);
            match random.below(22) {
                0..=7 => self.push(&mut client, &mut random),
                8..=14 => self.read_tag(&mut client, &mut random),
                15 => self.delete_tag(&mut client, &mut random),
                16 => self.mount(&mut client, &mut random),
                17 => self.read_manifest(&mut client, &mut random),
                18 => self.push_and_delete(&mut client, &mut random),
                19 => self.read_gone(&mut client, &mut random),
                _ => self.read_kept(&mut client, &mut random),
            }
        }
    }

    /// A client of any of the nodes.
    pub(crate) fn client(&self, random: &mut Random) -> Client {
        let addresses = lock(&self.addresses);
        Client::with_patience(addresses[random.below(addresses.len())], PATIENCE)
    }

    /// The next number of an image.
    pub(crate) fn next_number(&self) -> u32 {
        self.manifests.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a run is short")
    }

    fn tag(&self, random: &mut Random) -> String {
        let tags = u32::try_from(TAGS).expect("few tags");
        let round = self.operations.fetch_add(1, Ordering::Relaxed) / (OPERATIONS_PER_TAG * tags);
        format!("r{round}-{}", random.below(TAGS))
    }

    fn push(&self, client: &mut Client, random: &mut Random) {
        let tag = self.tag(random);
        let number = self.next_number();
        let size = [200, 20_000, 400_000, 2_500_000][random.below(4)];
        let layer = random.bytes(size + usize::try_from(number % 50).expect("small"));
        let config = format!("{{\"number\":{number}}}").into_bytes();
        let (layer_digest, config_digest) =
            (digest_of("sha256", &layer), digest_of("sha256", &config));
        let is_in_pieces = layer.len() > 1000 && random.below(3) == 0;
        let has_layer = if is_in_pieces {
            self.upload_in_pieces(client, random, &layer, &layer_digest)
        } else {
            self.upload(client, &layer, &layer_digest)
        };
        if !has_layer || !self.upload(client, &config, &config_digest) {
            return;
        }
        let layers = [(layer_digest.as_str(), layer.len())];
        let manifest = image((&config_digest, config.len()), &layers).to_string();
        let digest = digest_of("sha256", manifest.as_bytes());
        self.log().numbers.insert(digest.clone(), number);
        let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let request = Request::new("PUT", target)
            .header("Content-Type", MANIFEST_TYPE)
            .body(manifest);
        let start = self.now();
        let answer = client.try_send(&request);
        let end = self.now();
        let status = self.outcome(answer.as_ref().ok(), &[201]);
        if is_not_proposed(status) {
            // It has not happened, and whoever sees it later sees a lie.
            return;
        }
        let is_known = status == Some(201);
        let mut log = self.log();
        log.tags.entry(tag).or_default().push(Operation {
            start,
            end: is_known.then_some(end),
            action: Action::Write(Some(number)),
        });
        if is_known {
            log.kept.push(Kept {
                manifest: digest,
                blobs: vec![
                    KeptBlob::new(layer_digest, &layer),
                    KeptBlob::new(config_digest, &config),
                ],
            });
        }
    }

    /// Uploads in one request; whether that was acknowledged.
    fn upload(&self, client: &mut Client, content: &[u8], digest: &str) -> bool {
        let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
        let pushed = client.try_send(&Request::new("POST", target).body(content));
        self.outcome(pushed.as_ref().ok(), &[201]) == Some(201)
    }

    /// Begins an upload at one node and ends it at another one. What was acknowledged
    /// on the way stays.
    fn upload_in_pieces(
        &self,
        client: &mut Client,
        random: &mut Random,
        content: &[u8],
        digest: &str,
    ) -> bool {
        let target = format!("/v2/{REPOSITORY}/blobs/uploads/");
        let session = Session {
            owner: client.address(),
            begun: self.now(),
        };
        let opened = client.try_send(&Request::new("POST", target)).ok();
        if self.outcome(opened.as_ref(), &[202]) != Some(202) {
            return false;
        }
        let outcome = |answer: Option<&Response>, good| self.judge(answer, &[good], Some(session));
        let half = content.len() / 2;
        let first = Request::new("PATCH", location(&opened.expect("just seen")))
            .header("Content-Range", format!("0-{}", half - 1))
            .body(&content[..half]);
        let sent = client.try_send(&first).ok();
        if outcome(sent.as_ref(), 202) != Some(202) {
            return false;
        }
        let mut other = self.client(random);
        let target = location(&sent.expect("just seen"));
        let asked = other.try_send(&Request::new("GET", target.clone())).ok();
        if outcome(asked.as_ref(), 204) != Some(204) {
            return false;
        }
        let held = asked.expect("just seen").only("Range").to_owned();
        if held != format!("0-{}", half - 1) {
            let line = format!("{target} holds {held}, {half} bytes were acknowledged");
            self.log().wrong.push(line);
        }
        let range = format!("{half}-{}", content.len() - 1);
        let mark = if target.contains('?') { '&' } else { '?' };
        let last = Request::new("PUT", format!("{target}{mark}digest={digest}"))
            .header("Content-Range", range)
            .body(&content[half..]);
        let sealed = other.try_send(&last).ok();
        outcome(sealed.as_ref(), 201) == Some(201)
    }

    fn delete_tag(&self, client: &mut Client, random: &mut Random) {
        let tag = self.tag(random);
        let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let start = self.now();
        let answer = client.try_send(&Request::new("DELETE", target)).ok();
        let end = self.now();
        let status = self.outcome(answer.as_ref(), &[202, 404]);
        if is_not_proposed(status) {
            return;
        }
        let (end, action) = match status {
            Some(202) => (Some(end), Action::Write(None)),
            Some(404) => (Some(end), Action::Read(None)),
            _ => (None, Action::Write(None)),
        };
        self.note(tag, Operation { start, end, action });
    }

    fn note(&self, tag: String, operation: Operation) {
        self.log().tags.entry(tag).or_default().push(operation);
    }

    /// What a node says about every tag of the run, at the end: one more read each.
    pub(crate) fn read_all_tags(&self, address: SocketAddr) {
        let tags: Vec<String> = self.log().tags.keys().cloned().collect();
        let mut client = Client::new(address);
        for tag in tags {
            self.read(&mut client, tag);
        }
    }

    fn read_tag(&self, client: &mut Client, random: &mut Random) {
        let tag = self.tag(random);
        self.read(client, tag);
    }

    fn read(&self, client: &mut Client, tag: String) {
        let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let start = self.now();
        let answer = client.try_send(&Request::new("GET", target));
        let end = self.now();
        let value = match self.outcome(answer.as_ref().ok(), &[200, 404]) {
            Some(200) => {
                let answer = answer.expect("just seen");
                let digest = digest_of("sha256", &answer.body);
                let number = self.log().numbers.get(&digest).copied();
                if number.is_none() {
                    let line = format!("{tag}: {digest} was never pushed");
                    self.log().wrong.push(line);
                }
                number
            }
            Some(404) => None,
            _ => return,
        };
        let (end, action) = (Some(end), Action::Read(value));
        self.note(tag, Operation { start, end, action });
    }

    /// Some blob that was acknowledged.
    fn some_blob(&self, random: &mut Random) -> Option<KeptBlob> {
        let log = self.log();
        let kept = log.kept.get(random.below(log.kept.len().max(1)))?;
        Some(kept.blobs[random.below(kept.blobs.len())].clone())
    }

    /// Reads something acknowledged, or a part of it: absent is a lie at any time.
    fn read_kept(&self, client: &mut Client, random: &mut Random) {
        let Some(blob) = self.some_blob(random) else {
            return;
        };
        let (digest, half) = (&blob.digest, blob.bytes / 2);
        let target = format!("/v2/{REPOSITORY}/blobs/{digest}");
        let part = Request::new("GET", &target).header("Range", format!("bytes={half}-"));
        let (request, good, bytes, expected) = match random.below(3) {
            0 => (Request::new("HEAD", target), 200, blob.bytes, None),
            1 => (part, 206, blob.bytes - half, Some(&blob.second_half)),
            _ => (Request::new("GET", target), 200, blob.bytes, Some(digest)),
        };
        let answer = client.try_send(&request).ok();
        if self.outcome(answer.as_ref(), &[good]) != Some(good) {
            return;
        }
        let answer = answer.expect("just seen");
        if answer.only("Content-Length") != bytes.to_string() {
            self.object(format!("{good} of {digest} is not {bytes} bytes"));
        }
        if expected.is_some_and(|expected| digest_of("sha256", &answer.body) != *expected) {
            self.object(format!("{good} of {digest} has other bytes"));
        }
    }

    /// Reads an acknowledged manifest by its digest.
    fn read_manifest(&self, client: &mut Client, random: &mut Random) {
        let manifest = {
            let log = self.log();
            let kept = log.kept.get(random.below(log.kept.len().max(1)));
            kept.map(|kept| kept.manifest.clone())
        };
        let Some(digest) = manifest else { return };
        let target = format!("/v2/{REPOSITORY}/manifests/{digest}");
        let answer = client.try_send(&Request::new("GET", target)).ok();
        if self.outcome(answer.as_ref(), &[200]) == Some(200)
            && digest_of("sha256", &answer.expect("just seen").body) != digest
        {
            self.object(format!("manifest {digest} has other bytes"));
        }
    }

    /// Mounts an acknowledged blob. A node that does not know it yet begins an upload.
    fn mount(&self, client: &mut Client, random: &mut Random) {
        let Some(blob) = self.some_blob(random) else {
            return;
        };
        let wish = format!("mount={}&from={REPOSITORY}", blob.digest);
        let target = format!("/v2/{MOUNTS}/blobs/uploads/?{wish}");
        let answer = client.try_send(&Request::new("POST", target)).ok();
        if self.outcome(answer.as_ref(), &[201, 202]) == Some(201) {
            self.log().mounted.push(blob);
        }
    }

    /// Counts an answer, and writes down one that no rule allows. The status, if any.
    #[track_caller]
    pub(crate) fn outcome(&self, answer: Option<&Response>, good: &[u16]) -> Option<u16> {
        self.judge(answer, good, None)
    }

    /// As [`Run::outcome`], for an answer about an upload that was begun before.
    #[track_caller]
    fn judge(
        &self,
        answer: Option<&Response>,
        good: &[u16],
        session: Option<Session>,
    ) -> Option<u16> {
        let now = self.now();
        let mut log = self.log();
        let Some(answer) = answer else {
            log.fail(format!("no answer: {}", Location::caller()));
            if !log.faults.may_explain(now) {
                let line = format!("no answer: {}, at {now}", Location::caller());
                log.wrong.push(line);
            }
            return None;
        };
        if good.contains(&answer.status) {
            log.succeeded += 1;
            return Some(answer.status);
        }
        log.fail(format!("{}: {}", answer.about, answer.status));
        let is_read = answer.about.starts_with("GET") || answer.about.starts_with("HEAD");
        let is_upload = answer.about.contains("/blobs/uploads/");
        let is_allowed = match answer.status {
            // Somebody is elected, or away; without a fault nobody is.
            429 | 503 => log.faults.may_explain(now),
            // The outcome of a change may be unknown; a read has no such excuse.
            500 if !is_read && String::from_utf8_lossy(&answer.body).contains(UNDECIDED) => {
                log.faults.may_explain(now)
            }
            // Nothing was acknowledged of an upload that a disk would not take.
            500 => !is_read && is_upload && log.faults.may_explain_by_disk(now),
            507 => is_upload && log.faults.may_explain_by_disk(now),
            // The node that owned the session was removed with its disk.
            404 => answer.code() == "BLOB_UPLOAD_UNKNOWN" && log.is_lost(session),
            _ => false,
        };
        if !is_allowed {
            let body = String::from_utf8_lossy(&answer.body);
            let (about, status) = (&answer.about, answer.status);
            let line = format!("{about}: {status} {body}, at {now}, of {session:?}");
            log.wrong.push(line);
        }
        Some(answer.status)
    }

    /// Writes down what no rule allows.
    fn object(&self, line: String) {
        self.log().wrong.push(line);
    }

    /// The log, whoever panicked while writing.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

impl Log {
    fn fail(&mut self, failure: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }

    /// Whether the node that owned a session was removed since.
    fn is_lost(&self, session: Option<Session>) -> bool {
        session.is_some_and(|session| {
            let mut removed = self.removed.iter();
            removed.any(|(address, until)| *address == session.owner && *until >= session.begun)
        })
    }
}

/// Whether an answer says that the change was not even proposed.
fn is_not_proposed(status: Option<u16>) -> bool {
    matches!(status, Some(429 | 503))
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
