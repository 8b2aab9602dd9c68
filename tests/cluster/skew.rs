//! Two versions in one cluster: its nodes are upgraded one after another, as
//! `deploy/UPGRADE.md` says, while clients push, pull and delete through all of them and
//! see nothing of it.
//!
//! `tests/run` upgrades from this version to the one after it, which the same program
//! plays: see `tomorrow.rs`. What is upgraded may also be a program that was released:
//!
//! ```text
//! WINDLASS_TEST_OLDER_PROGRAM=/usr/bin/windlass cargo test --test cluster skew -- --ignored
//! ```
//! upgrades a cluster of that program to this build, and takes one step back.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use windlass::metadata::FORMAT_LEVEL;

use super::client::Run;
use super::gone::check_gone;
use super::nemesis::{EndOf, check_kept, check_states, check_tags};
use super::sources::metric;
use super::turn::heavy;
use crate::support::{Cluster, NodeOptions, SETTLED_MAX, said, wait_for};

/// Names a program of the version before this one.
const OLDER_PROGRAM: &str = "WINDLASS_TEST_OLDER_PROGRAM";
/// Clients at work, one operation at a time each.
const CLIENTS: u64 = 3;
/// Operations that must succeed between two steps.
const OPERATIONS: u64 = 60;
/// Questions that an older node refuses between two steps.
const QUESTIONS: u64 = 3;
/// A node that is told to end has ended by then.
pub(crate) const END_MAX: Duration = Duration::from_secs(30);

/// What a node runs.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// Another program than the one under test.
    pub(crate) program: Option<PathBuf>,
    /// What has it play another version.
    pub(crate) environment: Vec<(String, String)>,
}

impl Version {
    pub(crate) fn options(&self) -> NodeOptions {
        NodeOptions {
            binary: self.program.clone(),
            environment: self.environment.clone(),
            ..NodeOptions::default()
        }
    }
}

/// A cluster of two versions, and clients of all its nodes.
pub(crate) struct Scene {
    /// The clients end before the nodes.
    end: EndOf,
    pub(crate) cluster: Cluster,
    newer: Version,
    /// What each node runs.
    versions: Vec<Version>,
    run: Arc<Run>,
    clients: Vec<JoinHandle<()>>,
}

impl Scene {
    /// Three nodes of the older version.
    pub(crate) fn new(older: &Version, newer: &Version) -> Self {
        let cluster = Cluster::start_with(3, &older.options());
        let run = Run::new(cluster.addresses());
        if older.program.is_some() {
            // Older nodes may serve for a moment what was deleted, and refuse for one.
            run.begin_outage(cluster.addresses());
            run.begin_fault(false);
        }
        let clients = (0..CLIENTS).map(|client| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.work(90 + client))
        });
        let clients = clients.collect();
        Self {
            cluster,
            newer: newer.clone(),
            versions: vec![older.clone(); 3],
            end: EndOf(Arc::clone(&run)),
            run,
            clients,
        }
    }

    /// Has a node run another version, as an operator does it.
    #[track_caller]
    pub(crate) fn change(&mut self, index: usize, version: &Version) {
        self.check_status();
        if self.cluster.leader() == index {
            let sent = self.cluster.nodes[index].operate(&["transfer-leader"]);
            assert!(sent.status.success(), "{}", said(&sent));
            assert!(wait_for(SETTLED_MAX, || self.cluster.leader() != index));
        }
        let mut addresses = self.cluster.addresses();
        addresses.remove(index);
        {
            // A proxy that lets end what it has begun.
            let _paused = self.run.pause();
            self.run.set_addresses(addresses);
        }
        let node = &mut self.cluster.nodes[index].node;
        let ended = node.terminate(END_MAX);
        assert_eq!(ended.code(), Some(0), "{}", node.log_text());
        node.change(|options| {
            options.binary.clone_from(&version.program);
            options.environment.clone_from(&version.environment);
        });
        node.spawn();
        node.wait_ready();
        self.versions[index] = version.clone();
        {
            // Those who push all the time leave something to be copied all the time.
            let _paused = self.run.pause();
            self.cluster.wait_whole();
            self.run.set_addresses(self.cluster.addresses());
        }
        self.check();
    }

    /// Clients see nothing of what goes on, and all nodes have one state.
    #[track_caller]
    pub(crate) fn check(&mut self) {
        let before = self.run.log().succeeded;
        let goes_on = wait_for(SETTLED_MAX, || {
            self.run.log().succeeded >= before + OPERATIONS
        });
        self.cluster.wait_voters(self.versions.len());
        let _paused = self.run.pause();
        {
            let log = self.run.log();
            assert!(log.wrong.is_empty(), "{:#?}", log.wrong);
            // A program that was released may refuse for a moment when leadership moves.
            let is_excused = |failure: &String| !self.is_played() && failure.ends_with(": 503");
            assert!(log.failures.iter().all(is_excused), "{:#?}", log.failures);
            assert!(goes_on, "only {} operations", log.succeeded - before);
        }
        check_states(&self.cluster);
        self.check_status();
        self.check_refusals();
    }

    /// Every node says of every node what that one's version says.
    #[track_caller]
    fn check_status(&self) {
        let mut statuses = Vec::new();
        let is_confirmed = wait_for(SETTLED_MAX, || {
            statuses = self.statuses();
            let mut statuses = statuses.iter();
            statuses.all(|status| status["is_confirmed"] == true)
        });
        assert!(is_confirmed, "no leader answers: {statuses:#?}");
        let numbers: Vec<&Value> = statuses.iter().map(|status| &status["node"]).collect();
        for (asked, status) in statuses.iter().enumerate() {
            let nodes = status["nodes"].as_array().expect("nodes");
            assert_eq!(nodes.len(), self.versions.len(), "{status:#}");
            for node in nodes {
                let place = numbers.iter().position(|number| **number == node["node"]);
                let place = place.expect("a node of the cluster");
                let report = &node["report"];
                assert!(report["applied_index"].is_u64(), "{status:#}");
                assert!(report["consensus"]["term"].is_u64(), "{status:#}");
                // Only the newer version knows what only it says.
                let knows = |index: usize| self.is_played() && self.is_newer(index);
                let has_remarks = report["remarks"].is_u64();
                assert_eq!(has_remarks, knows(asked) && knows(place), "{status:#}");
                assert_eq!(report.get("remarks").is_some(), knows(asked), "{status:#}");
            }
            let shown = self.cluster.nodes[asked].operate(&["status"]);
            assert!(shown.status.success(), "{}", said(&shown));
        }
    }

    /// What an older node does not know it refuses; no connection ends for that.
    #[track_caller]
    fn check_refusals(&self) {
        let is_asked = self.is_played() && self.versions.contains(&self.newer);
        for index in (0..self.versions.len()).filter(|index| is_asked && !self.is_newer(*index)) {
            let node = &self.cluster.nodes[index].node;
            let proposals = "windlass_peer_served_calls_total{service=\"propose\",end=\"refused\"}";
            let refused = metric(node, proposals);
            assert_eq!(refused, 0, "what only the next level allows is proposed");
            let opened = || metric(node, "windlass_peer_connections_opened_total");
            let opened_before = opened();
            for service in ["unknown", "cluster"] {
                let counter = "windlass_peer_served_calls_total";
                let name = format!("{counter}{{service=\"{service}\",end=\"refused\"}}");
                let before = metric(node, &name);
                let is_asked = wait_for(SETTLED_MAX, || metric(node, &name) > before + QUESTIONS);
                assert!(is_asked, "nothing of {service} is refused");
            }
            let opened = opened() - opened_before;
            assert!(opened <= QUESTIONS, "{opened} new connections");
            assert_eq!(metric(node, "windlass_peer_broken_frames_total"), 0);
        }
    }

    /// Whether the newer version is this program in a role.
    fn is_played(&self) -> bool {
        !self.newer.environment.is_empty()
    }

    fn is_newer(&self, index: usize) -> bool {
        self.versions[index] == self.newer
    }

    pub(crate) fn statuses(&self) -> Vec<Value> {
        let nodes = 0..self.cluster.nodes.len();
        let statuses = nodes.map(|index| self.cluster.status(index).expect("a status"));
        statuses.collect()
    }

    /// The cluster writes what the version under test writes, and nothing newer.
    #[track_caller]
    fn check_level(&self) {
        if !self.is_played() {
            // An older program may be of another level.
            return;
        }
        let mut levels = Vec::new();
        let is_so = wait_for(SETTLED_MAX, || {
            let statuses = self.statuses().into_iter();
            levels = statuses
                .map(|status| status["format_level"].clone())
                .collect();
            levels.iter().all(|level| *level == FORMAT_LEVEL)
        });
        assert!(is_so, "not at {FORMAT_LEVEL}: {levels:?}");
    }

    /// Upgrades all nodes, with a step back; the leader is the last one. The older
    /// version's level stays until then.
    pub(crate) fn upgrade(&mut self, older: &Version) {
        let newer = self.newer.clone();
        self.check();
        self.check_level();
        let leader = self.cluster.leader();
        let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
        self.change(first, &newer);
        // Versions lead each other in turn.
        self.cluster.lead(first);
        self.change(second, &newer);
        self.check_level();
        self.change(first, older);
        self.cluster.lead(leader);
        self.change(first, &newer);
        self.check_level();
        self.change(leader, &newer);
    }

    /// All that clients were told is so, at every node.
    pub(crate) fn end(self) -> Cluster {
        let Self {
            mut cluster,
            run,
            clients,
            end,
            ..
        } = self;
        drop(end);
        for client in clients {
            client.join().expect("a client ends");
        }
        cluster.wait_whole();
        check_tags(&cluster, &run);
        check_kept(&cluster, &run);
        check_gone(&cluster, &run);
        check_states(&cluster);
        let log = run.log();
        assert!(log.gone.len() > 5, "only {} deletes", log.gone.len());
        println!(
            "{} operations, {} images kept, {} gone",
            log.succeeded,
            log.kept.len(),
            log.gone.len()
        );
        drop(log);
        cluster
    }
}

#[test]
#[ignore = "needs WINDLASS_TEST_OLDER_PROGRAM, a program of the version before this one"]
fn a_cluster_of_an_older_program_is_upgraded_to_this_one() {
    let _turn = heavy();
    let program: OsString = std::env::var_os(OLDER_PROGRAM).expect(OLDER_PROGRAM);
    let older = Version {
        program: Some(program.into()),
        ..Version::default()
    };
    let mut scene = Scene::new(&older, &Version::default());
    scene.upgrade(&older);
    scene.end();
}
