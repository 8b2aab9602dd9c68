//! Promises that one deliberate bug each breaks, and the checks that notice it.
//!
//! A check says what is broken. On the build as it is, each must find nothing. With
//! the feature `mutants` the same binary has the bugs of `src/base/mutant.rs`, one at a
//! time, and the check made for each must find it: `tests/run` does both.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use super::history::{Action, Operation, is_linearizable};
use super::network::Network;
use super::power::Disk;
use super::turn::heavy;
use crate::support::{
    Client, Cluster, MANIFEST_TYPE, Node, NodeOptions, Random, Registry, Request, digest_of, image,
    wait_for,
};

/// What a check found: nothing, or what is broken.
pub(crate) type Verdict = Result<(), String>;

/// Power cuts of one check.
const CUTS: u64 = 4;
/// Images pushed before each cut.
const IMAGES: usize = 6;
/// A node that is cut off answers within this, whatever it answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is healed works again within this.
const HEALED: Duration = Duration::from_secs(60);
/// The repository of all checks.
const REPOSITORY: &str = "promised/app";

/// The environment of a node that has the named bug, if any.
pub(crate) fn options(mutant: Option<&str>) -> NodeOptions {
    let variable = mutant.map(|name| ("MUTANT".to_owned(), name.to_owned()));
    NodeOptions {
        environment: variable.into_iter().collect(),
        ..NodeOptions::default()
    }
}

/// Something acknowledged: where it is, and its bytes.
type Kept = (String, Vec<u8>);

/// Pushes an image of one layer under a tag; everything that was acknowledged.
#[track_caller]
fn push(address: SocketAddr, tag: &str, layer: Vec<u8>) -> Vec<Kept> {
    let mut registry = Registry::new(address);
    let layer_digest = registry.push_blob(REPOSITORY, &layer);
    let config = format!("{{\"tag\":\"{tag}\"}}").into_bytes();
    let config_digest = registry.push_blob(REPOSITORY, &config);
    let layers = [(layer_digest.as_str(), layer.len())];
    let manifest = image((&config_digest, config.len()), &layers).to_string();
    let target = format!("/v2/{REPOSITORY}/manifests/{tag}");
    let request = Request::new("PUT", target)
        .header("Content-Type", MANIFEST_TYPE)
        .body(manifest.clone());
    registry.send(&request).expect(201);
    let digest = digest_of("sha256", manifest.as_bytes());
    vec![
        (format!("/v2/{REPOSITORY}/blobs/{layer_digest}"), layer),
        (format!("/v2/{REPOSITORY}/blobs/{config_digest}"), config),
        (
            format!("/v2/{REPOSITORY}/manifests/{digest}"),
            manifest.into_bytes(),
        ),
    ]
}

/// Whether a node has everything, whole.
fn check_kept(address: SocketAddr, kept: &[Kept]) -> Verdict {
    let mut client = Client::new(address);
    for (target, content) in kept {
        let got = client.try_send(&Request::new("GET", target.clone()));
        match got {
            Ok(answer) if answer.status == 200 && answer.body == *content => {}
            Ok(answer) if matches!(answer.status, 200 | 404 | 500) => {
                return Err(format!("{} is lost: {}", answer.about, answer.status));
            }
            Ok(answer) => return Err(format!("{}: {}", answer.about, answer.status)),
            Err(error) => return Err(format!("{target}: {error}")),
        }
    }
    Ok(())
}

/// Whether what was acknowledged is there after the power was cut.
fn power_cuts(mutant: Option<&str>) -> Verdict {
    let disk = Disk::new();
    let mut node = Node::start_with(NodeOptions {
        data_dir: Some(disk.path().join("data")),
        ..options(mutant)
    });
    let mut random = Random::new(3);
    let mut kept = Vec::new();
    for cut in 0..CUTS {
        for image in 0..IMAGES {
            let layer = random.bytes(40_000 + image * 100_000);
            kept.extend(push(node.address, &format!("c{cut}-{image}"), layer));
        }
        // The last thing before the cut is a blob that has a file.
        let content = random.bytes(70_000);
        let digest = Registry::new(node.address).push_blob(REPOSITORY, &content);
        kept.push((format!("/v2/{REPOSITORY}/blobs/{digest}"), content));
        disk.cut();
        node.kill();
        disk.come_back();
        node.spawn();
        let is_ready = wait_for(HEALED, || !node.is_running() || is_ready(&node));
        if !is_ready || !node.is_running() {
            return Err(format!("does not start after cut {cut}"));
        }
        check_kept(node.address, &kept).map_err(|lost| format!("cut {cut}: {lost}"))?;
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let mut client = Client::new(node.admin_address);
    let answer = client.try_send(&Request::new("GET", "/readyz"));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// A cluster in which one follower hears nobody.
struct CutOff {
    cluster: Cluster,
    network: Network,
    leader: SocketAddr,
    follower: SocketAddr,
    place: u8,
}

impl CutOff {
    fn new(mutant: Option<&str>) -> Self {
        let network = Network::new(3);
        let of_place = |place: u8| NodeOptions {
            wrapper: network.wrapper(place),
            host: Some(network.address(place)),
            ..options(mutant)
        };
        let mut cluster = Cluster::of((1..=3).map(of_place).collect());
        let leader = cluster.leader();
        let follower = (leader + 1) % 3;
        let addresses = cluster.addresses();
        Self {
            cluster,
            network,
            leader: addresses[leader],
            follower: addresses[follower],
            place: u8::try_from(follower + 1).expect("few nodes"),
        }
    }

    fn ask(&self, target: &str) -> Option<(u16, Vec<u8>)> {
        let mut client = Client::with_patience(self.follower, PATIENCE);
        let answer = client.try_send(&Request::new("GET", target)).ok()?;
        Some((answer.status, answer.body))
    }
}

/// Whether a node that cannot know denies what was acknowledged elsewhere.
fn denials(mutant: Option<&str>) -> Verdict {
    let mut scene = CutOff::new(mutant);
    scene.network.cut_off(scene.place);
    let kept = push(scene.leader, "v1", vec![5; 50_000]);
    for (target, _) in &kept {
        match scene.ask(target) {
            Some((404, _)) => return Err(format!("{target} is denied")),
            // It cannot know.
            Some((503, _)) | None => {}
            Some((status, _)) => return Err(format!("{target}: {status}")),
        }
    }
    scene.network.heal();
    let is_there = wait_for(HEALED, || check_kept(scene.follower, &kept).is_ok());
    scene.cluster.wait_whole();
    is_there.then_some(()).ok_or_else(|| "not there".to_owned())
}

/// Whether a node that cannot know gives a tag a value that it had before.
fn stale_tags(mutant: Option<&str>) -> Verdict {
    let scene = CutOff::new(mutant);
    let target = format!("/v2/{REPOSITORY}/manifests/v");
    let write = |number: u32| Operation {
        start: u64::from(number) * 10,
        end: Some(u64::from(number) * 10 + 1),
        action: Action::Write(Some(number)),
    };
    let first = push(scene.leader, "v", vec![1; 100]);
    let is_seen = wait_for(HEALED, || {
        scene.ask(&target).is_some_and(|got| got.0 == 200)
    });
    assert!(is_seen, "the follower follows");
    scene.network.cut_off(scene.place);
    let second = push(scene.leader, "v", vec![2; 100]);
    let manifest = |kept: &[Kept]| kept[2].1.clone();
    let seen = match scene.ask(&target) {
        Some((200, body)) if body == manifest(&first) => Some(1),
        Some((200, body)) if body == manifest(&second) => Some(2),
        Some((503, _)) | None => None,
        Some((status, _)) => return Err(format!("{target}: {status}")),
    };
    let mut history = vec![write(1), write(2)];
    history.extend(seen.map(|number| Operation {
        action: Action::Read(Some(number)),
        ..write(3)
    }));
    let is_register = is_linearizable(&history);
    is_register
        .then_some(())
        .ok_or_else(|| format!("the tag has an old value: {history:?}"))
}

/// Whether a node that lost its journal helps the others to forget what it voted for.
fn forgotten_votes(mutant: Option<&str>) -> Verdict {
    let mut cluster = Cluster::of(vec![options(mutant); 3]);
    let leader = cluster.leader();
    let (emptied, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    let addresses = cluster.addresses();
    cluster.nodes[behind].node.kill();
    // Acknowledged by the leader and the one that will lose its journal.
    let kept = push(addresses[leader], "v1", vec![7; 50_000]);
    cluster.nodes[leader].node.kill();
    cluster.nodes[emptied].node.kill();
    let journal = cluster.nodes[emptied].node.data_dir.join("journal");
    fs::remove_dir_all(journal).expect("the node has a journal");
    cluster.nodes[emptied].node.spawn();
    cluster.nodes[behind].node.spawn();
    let manifest = &kept[2].0;
    let mut denied = false;
    let is_refused = wait_for(HEALED, || {
        let answer = Client::with_patience(addresses[behind], PATIENCE)
            .try_send(&Request::new("GET", manifest.clone()));
        denied = answer.is_ok_and(|answer| answer.status == 404);
        denied || !cluster.nodes[emptied].node.is_running()
    });
    if denied {
        return Err(format!("{manifest} is forgotten"));
    }
    if !is_refused {
        return Err("a node without its journal runs".to_owned());
    }
    cluster.nodes[emptied].node.wait_end(HEALED);
    cluster.nodes[leader].node.spawn();
    let is_there = wait_for(HEALED, || check_kept(addresses[behind], &kept).is_ok());
    is_there.then_some(()).ok_or_else(|| "lost".to_owned())
}

#[test]
fn what_is_acknowledged_survives_power_cuts() {
    let _turn = heavy();
    assert_eq!(power_cuts(None), Ok(()));
}

#[test]
fn a_node_that_is_cut_off_denies_nothing() {
    let _turn = heavy();
    assert_eq!(denials(None), Ok(()));
}

#[test]
fn a_node_that_is_cut_off_gives_no_tag_an_old_value() {
    let _turn = heavy();
    assert_eq!(stale_tags(None), Ok(()));
}

#[test]
fn a_node_that_lost_its_journal_does_not_vote_again() {
    let _turn = heavy();
    assert_eq!(forgotten_votes(None), Ok(()));
}

/// The bugs, each found by the check that is made for it.
#[cfg(feature = "mutants")]
mod mutants {
    use super::super::deleting::stale_hits;
    use super::{Verdict, denials, forgotten_votes, heavy, power_cuts, stale_tags};

    /// The check must find the promise broken that the bug breaks: a node that does not
    /// answer, say, proves nothing.
    #[track_caller]
    fn expect_found(check: impl Fn(Option<&str>) -> Verdict, mutant: &str, broken: &str) {
        let _turn = heavy();
        let found = check(Some(mutant)).expect_err("the bug is not found");
        println!("{mutant}: {found}");
        assert!(found.contains(broken), "not that it `{broken}`: {found}");
    }

    #[test]
    fn an_acknowledgement_before_the_sync_is_found() {
        expect_found(power_cuts, "acknowledge-before-sync", "is lost");
    }

    #[test]
    fn a_directory_that_is_not_synced_is_found() {
        expect_found(power_cuts, "skip-directory-sync", "is lost");
    }

    #[test]
    fn a_denial_on_a_local_miss_is_found() {
        expect_found(denials, "deny-on-local-miss", "is denied");
    }

    #[test]
    fn a_tag_read_without_read_index_is_found() {
        expect_found(stale_tags, "tag-without-read-index", "an old value");
    }

    #[test]
    fn an_old_state_that_is_trusted_is_found() {
        expect_found(stale_hits, "trust-old-state", "is served again");
    }

    #[test]
    fn a_delete_that_waits_for_nobody_is_found() {
        expect_found(stale_hits, "delete-without-barrier", "is served again");
    }

    #[test]
    fn a_wiped_node_that_comes_back_is_found() {
        expect_found(forgotten_votes, "reuse-wiped-identity", "is forgotten");
    }
}
