//! Tests of changes that take effect once.

use super::*;
use crate::metadata::world::{World, digest, image, name, put, tag};
use crate::metadata::{Delta, NodeAddress, NodeCommand, What};

const NODE_ID: u64 = 41;

fn as_once(number: u64, command: Command) -> Command {
    Command::Once {
        id: ChangeId {
            node: NODE_ID,
            run: 1,
            number,
        },
        command: Box::new(command),
    }
}

fn delete(text: &str) -> Command {
    Command::DeleteTag {
        repository: name("app"),
        tag: tag(text),
    }
}

/// A repository with what two images are made of.
fn world() -> World {
    let mut world = World::default();
    for content in ["config", "one", "two"] {
        world.link("app", content);
    }
    world
}

fn points_at(world: &World, text: &str) -> Option<Digest> {
    crate::metadata::tag(&world.view, &name("app"), &tag(text)).unwrap()
}

#[test]
fn what_others_changed_meanwhile_is_not_undone() {
    let mut world = world();
    let (one, two) = (
        image("config", &["one"], None),
        image("config", &["two"], None),
    );
    let first = as_once(1, put("app", &one, &["v1"]));
    let outcome = world.run(&first);
    let is_stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored { is_new: true, .. });
    assert!(is_stored(&outcome));
    world.run(&put("app", &two, &["v1"]));
    let (again, delta) = world.decide(&first);
    assert_eq!((again, delta), (outcome, Delta::default()));
    assert_eq!(points_at(&world, "v1"), Some(two.digest()));
    // Without a number the same change would move the tag back.
    world.run(&put("app", &one, &["v1"]));
    assert_eq!(points_at(&world, "v1"), Some(one.digest()));

    let gone = as_once(2, delete("v1"));
    assert_eq!(world.run(&gone), Outcome::Deleted);
    world.run(&put("app", &two, &["v1"]));
    let (again, delta) = world.decide(&gone);
    assert_eq!((again, delta), (Outcome::Deleted, Delta::default()));
    assert_eq!(points_at(&world, "v1"), Some(two.digest()));
}

#[test]
fn a_copy_that_comes_too_late_is_refused() {
    let mut world = world();
    let one = image("config", &["one"], None);
    let early = as_once(1, put("app", &one, &["v1"]));
    let later = 1 + u64::from(ONCE_SLOTS);
    world.run(&early);
    world.run(&as_once(later, put("app", &one, &["v2"])));
    world.run(&as_once(2, delete("v1")));
    let outdated = Refusal::Outdated { newest: later };
    let (outcome, delta) = world.decide(&early);
    assert_eq!(outcome, Outcome::Refused(outdated));
    assert_eq!(delta, Delta::default());
}

#[test]
fn nodes_do_not_meet_in_one_place() {
    let mut world = world();
    let one = image("config", &["one"], None);
    world.run(&as_once(1, put("app", &one, &["v1"])));
    let other = Command::Once {
        id: ChangeId {
            node: NODE_ID + 1,
            run: 1,
            number: 1,
        },
        command: Box::new(delete("v1")),
    };
    assert_eq!(world.run(&other), Outcome::Deleted);
}

#[test]
fn what_changed_nothing_changes_nothing_later_either() {
    let mut world = world();
    let one = image("config", &["one"], None);
    let (gone, again) = (
        as_once(1, delete("v1")),
        as_once(2, put("app", &one, &["v1"])),
    );
    // Its client hears that there is no such tag, and somebody makes it.
    assert_eq!(world.run(&gone), Outcome::NotFound(What::Tag));
    world.run(&put("app", &one, &["v1"]));
    let (outcome, delta) = world.decide(&gone);
    assert_eq!(outcome, Outcome::NotFound(What::Tag));
    assert_eq!(delta, Delta::default());
    // A push of what is there already; then the tag moves.
    assert!(matches!(
        world.run(&again),
        Outcome::Stored {
            is_change: false,
            ..
        }
    ));
    let two = image("config", &["two"], None);
    world.run(&put("app", &two, &["v1"]));
    assert_eq!(world.decide(&again).1, Delta::default());
    assert_eq!(points_at(&world, "v1"), Some(two.digest()));
}

#[test]
fn a_process_takes_no_answer_of_the_one_before() {
    let mut world = world();
    let one = image("config", &["one"], None);
    world.run(&as_once(9, put("app", &one, &["v1"])));
    let of_next = Command::Once {
        id: ChangeId {
            node: NODE_ID,
            run: 2,
            number: 9,
        },
        command: Box::new(delete("v1")),
    };
    let outdated = Outcome::Refused(Refusal::Outdated { newest: 9 });
    assert_eq!(world.decide(&of_next), (outdated, Delta::default()));
    assert_eq!(points_at(&world, "v1"), Some(one.digest()));
}

#[test]
fn a_long_list_is_noted_in_part() {
    let missing: Vec<_> = (0..1000)
        .map(|number: u32| digest(&number.to_string()))
        .collect();
    let Outcome::BlobsMissing(some) = noted(&Outcome::BlobsMissing(missing)) else {
        panic!("it is a list");
    };
    assert_eq!(some.len(), NOTED_DIGESTS_MAX);
}

#[test]
fn a_removed_node_leaves_nothing() {
    let mut world = world();
    for node in [NODE_ID, NODE_ID + 1] {
        let describe = NodeCommand::Describe {
            node,
            node_uuid: [u8::try_from(node).unwrap(); 16],
            address: NodeAddress::parse(&format!("a{node}:1")).unwrap(),
        };
        world.run(&Command::Node(describe));
    }
    let one = image("config", &["one"], None);
    world.run(&as_once(1, put("app", &one, &["v1"])));
    let of_node = |world: &World, node| {
        let prefix = key::all_done(node);
        let mut keys = world.view.iter().map(|(key, _)| key.clone());
        keys.any(|key| key.starts_with(&prefix))
    };
    assert!(of_node(&world, NODE_ID) && !of_node(&world, NODE_ID + 1));
    world.run(&Command::Node(NodeCommand::Remove { node: NODE_ID }));
    assert!(!of_node(&world, NODE_ID));
    // Nor does a copy that comes now.
    let late = world.run(&as_once(1, put("app", &one, &["v1"])));
    assert_eq!(late, Outcome::Refused(Refusal::NodeRemoved));
    assert!(!of_node(&world, NODE_ID));
}
