//! What clients push and delete through other nodes is held and answered while the
//! leader dies, or stands still: none of them has to do it again.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::deleting::signal;
use super::turn::heavy;
use crate::support::{Client, Cluster, MANIFEST_TYPE, Random, Request, digest_of, image, wait_for};

/// One may be missing.
const NODES: usize = 3;
/// Formats that have changes which take effect once.
const ONCE_LEVEL: u64 = 3;
/// Leaders that die, and as many that stand still.
const ROUNDS: usize = 4;
/// Clients of each node that stays.
const CLIENTS: usize = 3;
/// Images that each of them pushes before the leader goes, and after another leads.
const IMAGES: usize = 5;
/// A change that is held is answered within ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// The rest of a round takes no longer.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// One client's images, one after the other; every second one is deleted again.
struct Pusher<'a> {
    address: SocketAddr,
    random: Random,
    images: &'a AtomicUsize,
}

impl Pusher<'_> {
    /// Sends what changes something; says what went wrong.
    fn change(&self, request: &Request, wanted: u16) -> Result<(), String> {
        let mut client = Client::with_patience(self.address, PATIENCE);
        match client.try_send(request) {
            Ok(answer) if answer.status == wanted => Ok(()),
            Ok(answer) => Err(format!(
                "{} through {}: {} {}",
                request.head_bytes().escape_ascii(),
                self.address,
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )),
            Err(error) => Err(format!("through {}: {error}", self.address)),
        }
    }

    fn push(&mut self, number: usize, client: usize) -> Result<(), String> {
        let repository = format!("held/app{client}");
        // One that lives in the journal, and one that needs copies.
        let (config, layer) = (self.random.bytes(700), self.random.bytes(60_000));
        for content in [&config, &layer] {
            let digest = digest_of("sha256", content);
            let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
            self.change(&Request::new("POST", target).body(content.clone()), 201)?;
        }
        let config = (digest_of("sha256", &config), config.len());
        let layer = (digest_of("sha256", &layer), layer.len());
        let manifest = image((&config.0, config.1), &[(&layer.0, layer.1)]).to_string();
        let target = format!("/v2/{repository}/manifests/t{}", number % 3);
        let put = Request::new("PUT", target.clone())
            .header("Content-Type", MANIFEST_TYPE)
            .body(manifest.into_bytes());
        self.change(&put, 201)?;
        if number % 2 == 1 {
            self.change(&Request::new("DELETE", target), 202)?;
        }
        self.images.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Runs clients of the nodes that stay while the leader is taken away and given back.
#[track_caller]
fn round(seed: u64, stay: &[SocketAddr], take_away: impl FnOnce(), give_back: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    let images: Vec<AtomicUsize> = stay.iter().map(|_| AtomicUsize::new(0)).collect();
    let failures = thread::scope(|scope| {
        let mut clients = Vec::new();
        for (at, address) in stay.iter().enumerate() {
            for client in 0..CLIENTS {
                let (is_over, images) = (&is_over, &images[at]);
                let client = at * CLIENTS + client;
                let mut pusher = Pusher {
                    address: *address,
                    random: Random::new(seed * 100 + client as u64),
                    images,
                };
                clients.push(scope.spawn(move || {
                    let mut failed = Vec::new();
                    for number in 0.. {
                        failed.extend(pusher.push(number, client).err());
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    failed
                }));
            }
        }
        let all_push = |what: &str| {
            let before: Vec<_> = images
                .iter()
                .map(|images| images.load(Ordering::Relaxed))
                .collect();
            let go_on = wait_for(ROUND_MAX, || {
                let now = images.iter().map(|images| images.load(Ordering::Relaxed));
                now.zip(&before).all(|(now, before)| now >= before + IMAGES)
            });
            if !go_on {
                is_over.store(true, Ordering::Relaxed);
            }
            assert!(go_on, "no pushes {what}");
        };
        all_push("at first");
        take_away();
        all_push("under another leader");
        is_over.store(true, Ordering::Relaxed);
        let failures = clients
            .into_iter()
            .map(|client| client.join().expect("a client"));
        let failures: Vec<String> = failures.flatten().collect();
        give_back();
        failures
    });
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn clients_of_other_nodes_do_not_notice_that_the_leader_goes() {
    let _turn = heavy();
    let mut cluster = Cluster::start(NODES);
    let addresses = cluster.addresses();
    let knows_once = |status: Value| status["format_level"].as_u64() >= Some(ONCE_LEVEL);
    let all_know = || (0..NODES).all(|node| cluster.status(node).is_some_and(knows_once));
    assert!(wait_for(ROUND_MAX, all_know), "{:#?}", cluster.status(0));
    for seed in 0..2 * ROUNDS {
        let leader = cluster.leader();
        let stay = (0..addresses.len()).filter(|index| *index != leader);
        let stay: Vec<_> = stay.map(|index| addresses[index]).collect();
        let node = RefCell::new(&mut cluster.nodes[leader].node);
        if seed % 2 == 0 {
            let back = || node.borrow_mut().restart();
            round(seed as u64, &stay, || node.borrow_mut().kill(), back);
        } else {
            let stop = || signal(&node.borrow(), Signal::STOP);
            round(seed as u64, &stay, stop, || {
                signal(&node.borrow(), Signal::CONT);
            });
        }
        cluster.wait_whole();
    }
}
