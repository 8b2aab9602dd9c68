//! What is claimed of the blobs of a node is true at any moment, and is claimed in time.

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::attempt::Ended;
use super::super::blob_file::BlobFile;
use super::super::candidates::Holders;
use super::super::plan::{Caps, Plan};
use super::*;
use crate::base::Clock;
use crate::oci::{Algorithm, Digest};
use crate::replication::fetch::FetchError;
use crate::replication::letter::Want;
use crate::replication::sample::{Blob, until};
use crate::replication::testing::{Cluster, Node};
use crate::transfer::{TransferError, TransferRefusal};

const CAPS: Caps = Caps {
    background_fetches: 4,
    fetches: 4,
    backlog: 2,
    wanted: 4,
};

fn file(number: usize) -> BlobFile {
    BlobFile {
        digest: Digest::of(Algorithm::Sha256, &number.to_le_bytes()),
        generation: 1,
    }
}

/// A node that copies what is pushed elsewhere, with everything that may happen in the
/// order in which the coordinator sees it.
struct World {
    /// Index of the entry of each blob, and whether it is here.
    blobs: Vec<(u64, bool)>,
    applied: u64,
    /// Blobs that were told of; `None` stands for all.
    channel: VecDeque<Option<usize>>,
    plan: Plan,
    is_surveyed: bool,
    watermark: Watermark,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        Self {
            blobs: Vec::new(),
            applied: 0,
            channel: VecDeque::new(),
            plan: Plan::new(CAPS),
            is_surveyed: false,
            watermark: Watermark::default(),
            clock: Clock::hand_moved(),
        }
    }

    fn push(&mut self) -> usize {
        self.applied += 1;
        self.blobs.push((self.applied, false));
        self.blobs.len() - 1
    }

    fn missing(&mut self, blob: usize) {
        self.is_surveyed &= self.plan.add(file(blob));
    }

    fn read(&mut self) {
        match self.channel.pop_front() {
            Some(Some(blob)) if !self.blobs[blob].1 => self.missing(blob),
            Some(None) => self.is_surveyed = false,
            Some(Some(_)) | None => {}
        }
    }

    fn survey(&mut self) {
        let missing = (0..self.blobs.len()).filter(|blob| !self.blobs[*blob].1);
        let missing: Vec<usize> = missing.collect();
        let has_room = missing.into_iter().all(|blob| self.plan.add(file(blob)));
        self.is_surveyed = has_room;
    }

    fn seal(&mut self, blob: usize) {
        if self.plan.contains(&file(blob)) {
            self.blobs[blob].1 = true;
            assert!(self.plan.begin(file(blob), 1));
            self.plan.ended(file(blob), Ended::Sealed, self.clock.now());
        }
    }

    fn lose(&mut self, blob: usize) {
        if std::mem::take(&mut self.blobs[blob].1) {
            self.watermark.withdraw();
            self.missing(blob);
        }
    }

    fn look(&mut self) {
        let is_sure = self.is_surveyed && self.channel.is_empty();
        let sight = Sight {
            known: is_sure.then_some(self.applied),
            last_number: self.plan.last_number(),
        };
        let plan = &self.plan;
        self.watermark.go_on(sight, |last| {
            let is_empty = plan.known_between(0, last).next().is_none();
            is_empty.then(BTreeSet::new)
        });
    }

    fn claim(&self) -> Option<u64> {
        Some(self.watermark.claim.as_ref()?.index)
    }

    /// Greatest entry up to which everything is here.
    fn truth(&self) -> u64 {
        let mut missing = self.blobs.iter().filter(|(_, is_here)| !is_here);
        missing.next().map_or(self.applied, |(index, _)| index - 1)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A blob is pushed elsewhere.
    Push,
    /// An entry that has no blob with a file.
    Other,
    /// A snapshot brings a blob.
    Install,
    Read,
    Survey,
    Seal(usize),
    Lose(usize),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        1 => Just(Step::Other),
        1 => Just(Step::Install),
        6 => Just(Step::Read),
        3 => Just(Step::Survey),
        6 => any::<usize>().prop_map(Step::Seal),
        1 => any::<usize>().prop_map(Step::Lose),
        6 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn a_claim_is_true_whatever_happens_and_comes_when_all_is_quiet(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            let count = world.blobs.len();
            match step {
                Step::Push => {
                    let blob = world.push();
                    world.channel.push_back(Some(blob));
                }
                Step::Other => world.applied += 1,
                Step::Install => {
                    world.push();
                    world.channel.push_back(None);
                }
                Step::Read => world.read(),
                Step::Survey => world.survey(),
                Step::Seal(blob) if count > 0 => world.seal(blob % count),
                Step::Lose(blob) if count > 0 => world.lose(blob % count),
                Step::Seal(_) | Step::Lose(_) => {}
                Step::Look => world.look(),
            }
            prop_assert!(world.claim().unwrap_or(0) <= world.truth(), "{:?}", world.claim());
        }
        while world.truth() < world.applied || !world.channel.is_empty() || !world.is_surveyed {
            world.read();
            world.survey();
            for blob in 0..world.blobs.len() {
                world.seal(blob);
            }
        }
        world.look();
        prop_assert_eq!(world.claim(), Some(world.applied));
    }
}

#[test]
fn a_claim_goes_on_while_there_is_always_something_missing() {
    let mut world = World::new();
    world.survey();
    let mut last = world.push();
    world.missing(last);
    for _ in 0..20 {
        world.look();
        let next = world.push();
        world.missing(next);
        world.seal(last);
        world.look();
        assert!(
            world.claim() >= Some(world.applied - 1),
            "{:?}",
            world.claim()
        );
        last = next;
    }
}

#[test]
fn what_the_plan_has_forgotten_is_not_claimed_and_what_it_knew_before_is() {
    let mut world = World::new();
    world.survey();
    let first = world.push();
    world.missing(first);
    world.look();
    // One more than fits: it is forgotten until it is found again.
    let others = [(); CAPS.backlog].map(|()| world.push());
    for blob in others {
        world.missing(blob);
    }
    assert!(!world.is_surveyed);
    world.seal(first);
    for blob in others {
        world.seal(blob);
        world.look();
        assert_eq!(world.claim(), Some(1));
    }
    world.survey();
    world.look();
    assert_eq!(world.claim(), Some(1));
    for blob in others {
        world.seal(blob);
    }
    world.look();
    assert_eq!(world.claim(), Some(world.applied));
}

/// A blob in a plan that was tried so many times at node 3, in vain.
fn tried(times: u32, how: Ended) -> (Plan, Clock) {
    let (mut plan, clock) = (Plan::new(CAPS), Clock::hand_moved());
    assert!(plan.add(file(0)));
    for _ in 0..times {
        while plan.next(clock.now(), |_| vec![3]).is_none() {
            clock.advance(Duration::from_millis(100));
        }
        plan.ended(file(0), how, clock.now());
    }
    (plan, clock)
}

fn beyond_reach(plan: &Plan, clock: &Clock, are_known: bool, nodes: &[u64]) -> Option<Vec<u64>> {
    let number = plan.known_between(0, u64::MAX).next().unwrap();
    let nodes = nodes.to_vec();
    plan.beyond_reach(number, &Holders { nodes, are_known }, clock.now())
}

const GONE: Ended = Ended::SourceFailed { has_moved: false };
const LACKS: Ended = Ended::SourceLacks { has_moved: false };
const BUSY: Ended = Ended::SourceBusy { has_moved: false };

#[test]
fn a_blob_whose_holders_are_away_for_a_while_is_beyond_reach() {
    let (mut plan, clock) = tried(3, GONE);
    assert_eq!(
        beyond_reach(&plan, &clock, true, &[3]),
        None,
        "not for long"
    );
    clock.advance(Duration::from_secs(10));
    assert_eq!(beyond_reach(&plan, &clock, true, &[3]), Some(vec![3]));
    assert_eq!(
        beyond_reach(&plan, &clock, true, &[3, 4]),
        None,
        "node 4 was not asked"
    );
    // It is back, and says that it has no time.
    assert!(plan.next(clock.now(), |_| vec![3]).is_some());
    assert_eq!(
        beyond_reach(&plan, &clock, true, &[3]),
        None,
        "it is being fetched"
    );
    plan.ended(file(0), BUSY, clock.now());
    assert_eq!(beyond_reach(&plan, &clock, true, &[3]), None);
    let (plan, clock) = tried(2, GONE);
    clock.advance(Duration::from_secs(10));
    assert_eq!(
        beyond_reach(&plan, &clock, true, &[3]),
        None,
        "it was asked twice"
    );
}

#[test]
fn a_blob_that_nobody_has_is_beyond_reach_and_one_with_a_holder_is_not() {
    let (plan, clock) = tried(7, LACKS);
    assert_eq!(beyond_reach(&plan, &clock, false, &[3]), None, "not yet");
    let (plan, clock) = tried(8, LACKS);
    assert_eq!(beyond_reach(&plan, &clock, false, &[3]), Some(Vec::new()));
    assert_eq!(
        beyond_reach(&plan, &clock, false, &[3, 4]),
        None,
        "node 4 was not asked"
    );
    assert_eq!(
        beyond_reach(&plan, &clock, true, &[3]),
        None,
        "it is to have it"
    );
    let (plan, clock) = tried(8, Ended::LocalFailed);
    assert_eq!(
        beyond_reach(&plan, &clock, true, &[3]),
        None,
        "the fault is here"
    );
    assert_eq!(
        beyond_reach(&plan, &clock, false, &[3]),
        None,
        "the fault is here"
    );
}

#[test]
fn a_node_that_had_no_time_or_broke_off_is_not_one_that_lacks_the_blob() {
    let busy = FetchError::Source(TransferError::Refused(TransferRefusal::Busy));
    let busy = busy.classify(false).0;
    let (plan, clock) = tried(20, busy);
    assert_eq!(beyond_reach(&plan, &clock, false, &[3]), None);
    for how in [busy, GONE] {
        let (mut plan, clock) = tried(8, LACKS);
        for (how, expected) in [(how, None), (LACKS, Some(Vec::new()))] {
            while plan.next(clock.now(), |_| vec![3]).is_none() {
                clock.advance(Duration::from_millis(100));
            }
            plan.ended(file(0), how, clock.now());
            let found = beyond_reach(&plan, &clock, false, &[3]);
            assert_eq!(found, expected, "{how:?}");
        }
    }
}

#[test]
fn a_pass_goes_through_all_that_is_left_however_much_and_ends_at_one_that_can_be_had() {
    let clock = Clock::hand_moved();
    let mut pass = Pass::default();
    let most = u64::try_from(LOOK_BLOBS_MAX).unwrap();
    let last = 3 * most - 1;
    let mut look = |had: Option<u64>, pause: Duration| {
        clock.advance(pause);
        assert!(pass.is_due(clock.now()) && !pass.is_due(clock.now()));
        let (mut counts, first) = (0, pass.next_number);
        let left = pass.look(first..=last, |number| {
            counts += 1;
            (Some(number) != had).then(|| vec![number / most])
        });
        (counts, left)
    };
    let (soon, all) = (LOOK_PERIOD, LOOK_BLOBS_MAX);
    for had in [None, None, Some(2 * most), None, None] {
        let counts = if had.is_some() { 1 } else { all };
        assert_eq!(look(had, soon), (counts, None));
    }
    let whole = Some(BTreeSet::from([0, 1, 2]));
    assert_eq!(look(None, soon), (all, whole.clone()));
    assert_eq!(look(None, soon), (all, None), "from the start");
    for _ in 0..2 {
        assert_eq!(look(None, LOOK_PERIOD + PASS_GAP_MAX * 2), (all, None));
    }
    assert_eq!(look(None, soon), (all, None));
    assert_eq!(look(None, soon), (all, whole));
}

#[test]
fn blobs_that_nobody_can_give_do_not_keep_others_from_being_looked_for() {
    let caps = Caps {
        backlog: 16,
        ..CAPS
    };
    let (mut plan, clock) = (Plan::new(caps), Clock::hand_moved());
    let add = |plan: &mut Plan, counts: usize| {
        for _ in 0..counts {
            assert!(plan.has_room() && plan.add(file(plan.count())));
        }
    };
    add(&mut plan, 8);
    assert!(!plan.has_room(), "a half");
    // Node 3 is away, and node 4 lacks all of them.
    for _ in 0..200 {
        while let Some(start) = plan.next(clock.now(), |_| vec![3, 4]) {
            let how = if start.source == 3 { GONE } else { LACKS };
            plan.ended(start.file, how, clock.now());
        }
        clock.advance(Duration::from_secs(1));
    }
    add(&mut plan, 6);
    assert!(!plan.has_room(), "what is left is for what is told of");
    let begun = |plan: &mut Plan| plan.next(clock.now(), |_| vec![5]);
    while let Some(start) = begun(&mut plan) {
        plan.ended(start.file, Ended::Sealed, clock.now());
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(plan.count(), 0);
    add(&mut plan, 8);
    assert!(!plan.has_room(), "none of these is stuck");
}

/// What a node claims, and the entry that it had applied when it was asked.
fn claims(node: &Node) -> (Option<u64>, Option<u64>) {
    node.on(0, |world| async move {
        let applied = world.journal.status().applied_index;
        let fill = world.replicator.shared().fill();
        (fill.ask(Duration::from_secs(5)).await.index, applied)
    })
}

#[track_caller]
fn claims_all(node: &Node) {
    until("it claims to hold everything", || {
        let (claimed, applied) = claims(node);
        claimed >= applied
    });
}

#[test]
fn a_bad_file_that_others_are_to_replace_is_missing_and_nothing_is_claimed_meanwhile() {
    let cluster = Cluster::new();
    let node = cluster.start(1);
    claims_all(&node);
    let says = |is_disputed: bool| {
        node.on(0, move |world| async move {
            let shared = world.replicator.shared();
            shared.dispute_file(is_disputed);
            shared
                .fill()
                .ask(Duration::from_secs(5))
                .await
                .missing_blobs
        })
    };
    assert_eq!(says(true), 1);
    node.own(&Blob::new(82, 1 << 16));
    let (claimed, applied) = claims(&node);
    assert!(claimed < applied, "{claimed:?}");
    assert_eq!(says(false), 0);
    claims_all(&node);
}

#[test]
fn a_full_disk_and_a_lost_file_are_not_claimed_to_be_filled() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    claims_all(&target);
    let (full, _) = claims(&target);
    target.has_room.store(false, Ordering::Relaxed);
    let blob = Blob::new(81, 1 << 20);
    source.own(&blob);
    target.learn(&blob, &[1]);
    until("it is missing", || {
        target.metrics.replication.missing_blobs.value() == 1
    });
    let (claimed, applied) = claims(&target);
    assert!(claimed >= full && claimed < applied, "{claimed:?}");
    target.has_room.store(true, Ordering::Relaxed);
    target.receives(&blob);
    until("its holder is known", || target.knows_holder(&blob, 2));
    claims_all(&target);

    // Nobody can give it again for now.
    cluster.hide(&source);
    fs::remove_file(target.path(&blob)).unwrap();
    let file = blob.file();
    target.on(0, move |world| async move {
        let want = Want::of(&file, 1 << 20);
        drop(world.replicator.shared().want(want).await);
    });
    assert_eq!(claims(&target).0, None, "what was true is not any more");
    cluster.slow_down(&source, 100 << 20);
    target.receives(&blob);
    claims_all(&target);
}
