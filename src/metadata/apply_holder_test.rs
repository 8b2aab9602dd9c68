//! Who may give up a file: rules, and any order of them against a set of nodes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::metadata::world::{World, digest};
use crate::metadata::{Command, NodeAddress, NodeCommand};

fn holds(node: u64, add: &[&str], remove: &[&str]) -> Command {
    Command::Holders {
        node,
        add: add.iter().map(|content| digest(content)).collect(),
        remove: remove.iter().map(|content| digest(content)).collect(),
    }
}

fn yields(node: u64, content: &str, generation: u64) -> Command {
    Command::YieldFile {
        node,
        digest: digest(content),
        generation,
    }
}

fn describe(node: u64) -> Command {
    Command::Node(NodeCommand::Describe {
        node,
        node_uuid: [u8::try_from(node).unwrap(); 16],
        address: NodeAddress::parse(&format!("a{node}:1")).unwrap(),
    })
}

fn held(world: &World, content: &str) -> Vec<u64> {
    holder::holders(&world.view, &digest(content)).unwrap()
}

#[test]
fn the_second_of_two_holders_keeps_its_file() {
    let mut world = World::default();
    world.link("a", "x");
    world.run(&holds(1, &["x"], &[]));
    world.run(&holds(2, &["x"], &[]));
    let (first, _) = world.decide(&yields(2, "x", 0));
    assert_eq!(first, Outcome::Applied);
    assert_eq!(world.run(&yields(2, "x", 0)), Outcome::Applied);
    let kept = Outcome::Kept(Kept::LastHolder);
    assert_eq!(world.run(&yields(1, "x", 0)), kept);
    assert_eq!(held(&world, "x"), [1]);
    // One that is not known to hold it may lay aside what it has, the last one not.
    assert_eq!(world.run(&yields(3, "x", 0)), Outcome::Applied);
    world.run(&holds(2, &["x"], &[]));
    assert_eq!(world.run(&yields(1, "x", 0)), Outcome::Applied);
    assert_eq!(held(&world, "x"), [2]);
}

#[test]
fn a_node_that_was_removed_is_no_holder_to_rely_on() {
    let mut world = World::default();
    world.link("a", "x");
    for node in [1, 2] {
        world.run(&describe(node));
        world.run(&holds(node, &["x"], &[]));
    }
    let remove = Command::Node(NodeCommand::Remove { node: 2 });
    assert_eq!(world.run(&remove), Outcome::Applied);
    let kept = Outcome::Kept(Kept::LastHolder);
    assert_eq!(world.run(&yields(1, "x", 0)), kept);
}

#[test]
fn another_file_than_the_one_of_the_state_is_left_alone() {
    let mut world = World::default();
    world.link("a", "x");
    world.run(&holds(1, &["x"], &[]));
    world.run(&holds(2, &["x"], &[]));
    let other = Outcome::Kept(Kept::OtherGeneration);
    assert_eq!(world.run(&yields(1, "x", 1)), other);
    let absent = Outcome::Kept(Kept::Absent);
    assert_eq!(world.run(&yields(1, "y", 0)), absent);
    assert_eq!(held(&world, "x"), [1, 2]);
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64, usize),
    Yield(u64, usize),
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (node, content) = (1..5_u64, 0..2_usize);
    prop_oneof![
        4 => (node.clone(), content.clone()).prop_map(|(node, content)| Step::Add(node, content)),
        5 => (node.clone(), content).prop_map(|(node, content)| Step::Yield(node, content)),
        1 => node.prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn giving_up_never_takes_the_last_holder(steps in prop::collection::vec(step(), 1..80)) {
        const CONTENTS: [&str; 2] = ["x", "y"];
        let mut world = World::default();
        let mut members: BTreeSet<u64> = (1..5).collect();
        let mut files: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for node in 1..5 {
            world.run(&describe(node));
        }
        for content in CONTENTS {
            world.link("a", content);
        }
        for step in steps {
            match step {
                Step::Add(node, content) => {
                    world.run(&holds(node, &[CONTENTS[content]], &[]));
                    files.entry(content).or_default().insert(node);
                }
                Step::Yield(node, content) => {
                    let outcome = world.run(&yields(node, CONTENTS[content], 0));
                    let all = files.entry(content).or_default();
                    let good = |other: &&u64| **other != node && members.contains(other);
                    let may = all.iter().any(|other| good(&other));
                    let expected = if may {
                        all.remove(&node);
                        Outcome::Applied
                    } else {
                        Outcome::Kept(Kept::LastHolder)
                    };
                    prop_assert_eq!(outcome, expected);
                }
                Step::Remove(node) if members.len() > 1 => {
                    members.remove(&node);
                    world.run(&Command::Node(NodeCommand::Remove { node }));
                }
                Step::Remove(_) => {}
            }
            for (content, files) in &files {
                let known: BTreeSet<u64> = held(&world, CONTENTS[*content]).into_iter().collect();
                prop_assert_eq!(&known, files);
            }
        }
    }
}
