//! Clients that push and pull at random nodes and write down what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::history::{Action, Operation};
use crate::support::{Client, MANIFEST_TYPE, Random, Request, Response, digest_of, image};

/// A silent node is given up after this, so that a run under faults gets on.
const PATIENCE: Duration = Duration::from_secs(12);
/// Operations on one tag before the next one is used; the checker's bound is 128.
const OPERATIONS_PER_TAG: u32 = 60;
/// Tags in use at the same time.
const TAGS: usize = 3;
/// The repository of the run.
pub(crate) const REPOSITORY: &str = "nemesis/app";

/// Something that was acknowledged and must be there for ever.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The manifest's digest.
    pub(crate) manifest: String,
    /// Its blobs' digests.
    pub(crate) blobs: Vec<String>,
}

/// What all clients wrote down.
#[derive(Default)]
pub(crate) struct Log {
    /// Operations by tag.
    pub(crate) tags: BTreeMap<String, Vec<Operation>>,
    /// Images whose manifest was acknowledged.
    pub(crate) kept: Vec<Kept>,
    /// Numbers of manifests by digest.
    numbers: BTreeMap<String, u32>,
    /// Answers that no rule allows.
    pub(crate) wrong: Vec<String>,
    /// Operations that ended well.
    pub(crate) succeeded: u64,
    /// Operations of unknown outcome, or refused for now.
    pub(crate) failed: u64,
}

/// What the clients of one run share.
pub(crate) struct Run {
    /// When it began.
    began: Instant,
    /// Where the nodes are.
    addresses: Vec<SocketAddr>,
    /// Set when the clients are to end.
    pub(crate) is_over: AtomicBool,
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
            addresses,
            is_over: AtomicBool::new(false),
            operations: AtomicU32::new(0),
            manifests: AtomicU32::new(1),
            log: Mutex::default(),
        })
    }

    /// Works until the run is over.
    pub(crate) fn work(&self, seed: u64) {
        let mut random = Random::new(seed);
        while !self.is_over.load(Ordering::Relaxed) {
            let address = self.addresses[random.below(self.addresses.len())];
            let mut client = Client::with_patience(address, PATIENCE);
            match random.below(10) {
                0..=3 => self.push(&mut client, &mut random),
                4..=7 => self.read_tag(&mut client, &mut random),
                _ => self.read_kept(&mut client, &mut random),
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a run is short")
    }

    fn tag(&self, random: &mut Random) -> String {
        let tags = u32::try_from(TAGS).expect("few tags");
        let round = self.operations.fetch_add(1, Ordering::Relaxed) / (OPERATIONS_PER_TAG * tags);
        format!("r{round}-{}", random.below(TAGS))
    }

    fn push(&self, client: &mut Client, random: &mut Random) {
        let tag = self.tag(random);
        let number = self.manifests.fetch_add(1, Ordering::Relaxed);
        let size = [200, 20_000, 400_000, 2_500_000][random.below(4)];
        let layer = random.bytes(size + usize::try_from(number % 50).expect("small"));
        let config = format!("{{\"number\":{number}}}").into_bytes();
        for content in [&layer, &config] {
            let digest = digest_of("sha256", content);
            let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
            let pushed = client.try_send(&Request::new("POST", target).body(content.clone()));
            if self.outcome(pushed.as_ref().ok(), &[201]) != Some(201) {
                return;
            }
        }
        let blobs = [&layer, &config].map(|content| digest_of("sha256", content));
        let [layer_digest, config_digest] = &blobs;
        let layers = [(layer_digest.as_str(), layer.len())];
        let manifest = image((config_digest, config.len()), &layers).to_string();
        let digest = digest_of("sha256", manifest.as_bytes());
        self.log().numbers.insert(digest.clone(), number);
        let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let request = Request::new("PUT", target)
            .header("Content-Type", MANIFEST_TYPE)
            .body(manifest);
        let start = self.now();
        let answer = client.try_send(&request);
        let end = self.now();
        let is_known = self.outcome(answer.as_ref().ok(), &[201]) == Some(201);
        let mut log = self.log();
        log.tags.entry(tag).or_default().push(Operation {
            start,
            end: is_known.then_some(end),
            action: Action::Write(number),
        });
        if is_known {
            log.kept.push(Kept {
                manifest: digest,
                blobs: blobs.to_vec(),
            });
        }
    }

    fn read_tag(&self, client: &mut Client, random: &mut Random) {
        let tag = self.tag(random);
        let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let start = self.now();
        let answer = client.try_send(&Request::new("GET", target));
        let end = self.now();
        let Ok(answer) = answer else {
            self.log().failed += 1;
            return;
        };
        let value = match self.outcome(Some(&answer), &[200, 404]) {
            Some(200) => {
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
        self.log().tags.entry(tag).or_default().push(Operation {
            start,
            end: Some(end),
            action: Action::Read(value),
        });
    }

    /// Reads something acknowledged: absent is a lie at any time.
    fn read_kept(&self, client: &mut Client, random: &mut Random) {
        let digest = {
            let log = self.log();
            if log.kept.is_empty() {
                return;
            }
            let kept = &log.kept[random.below(log.kept.len())];
            kept.blobs[random.below(kept.blobs.len())].clone()
        };
        let target = format!("/v2/{REPOSITORY}/blobs/{digest}");
        let answer = client.try_send(&Request::new("GET", target)).ok();
        if self.outcome(answer.as_ref(), &[200]) == Some(200)
            && answer.is_some_and(|answer| digest_of("sha256", &answer.body) != digest)
        {
            self.log().wrong.push(format!("{digest} has other bytes"));
        }
    }

    /// Counts an answer, and writes down one that no rule allows. The status, if any.
    fn outcome(&self, answer: Option<&Response>, good: &[u16]) -> Option<u16> {
        let mut log = self.log();
        let Some(answer) = answer else {
            log.failed += 1;
            return None;
        };
        if good.contains(&answer.status) {
            log.succeeded += 1;
        } else {
            log.failed += 1;
            // 500 says that the outcome of a change is unknown; a read has no such excuse.
            let is_allowed = match answer.status {
                429 | 503 => true,
                500 => !answer.about.starts_with("GET"),
                _ => false,
            };
            if !is_allowed {
                let line = format!("{}: {} {}", answer.about, answer.status, answer.code());
                log.wrong.push(line);
            }
        }
        Some(answer.status)
    }

    /// The log, whoever panicked while writing.
    pub(crate) fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
