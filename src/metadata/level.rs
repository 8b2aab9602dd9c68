//! Which formats of entries and state all nodes of a cluster know.
//!
//! ```text
//! level   u8 version = 1 | u32 level
//! ```
//! A level is a number that grows when a version adds a command, a record or a newer
//! version of one. Each node says which one it knows; the cluster's is the lowest of
//! them, from the entry on in which the last node said so, and never falls. Nothing is
//! written in a newer format than the cluster's, so that nodes of two versions work
//! beside each other. A node that says nothing knows level 1.

use super::draft::Draft;
use super::key;
use super::node_record::{NodeState, nodes};
use super::outcome::{Outcome, Refusal};
use super::record::{StateError, decode_record, read, start};
use super::view::View;
use crate::base::{CodecError, Reader, tomorrow};

/// The newest formats that this build reads and writes.
pub const FORMAT_LEVEL: u32 = 3;
/// From here on a node asks before it gives up a file.
pub const YIELD_FILE_LEVEL: u32 = 2;
/// From here on there are robots.
pub const ROBOTS_LEVEL: u32 = 2;
/// From here on there are changes that take effect once.
pub const ONCE_LEVEL: u32 = 3;
/// What a node knows that says nothing.
const FIRST_LEVEL: u32 = 1;
/// Stands for the cluster; no node has this number.
const CLUSTER_ID: u64 = 0;

/// The newest formats that this process reads and writes: those of this build.
#[must_use]
pub fn known_level() -> u32 {
    FORMAT_LEVEL + u32::from(tomorrow::is_on())
}

/// The formats that may be written.
pub fn format_level(view: &dyn View) -> Result<u32, StateError> {
    node_level(view, CLUSTER_ID)
}

/// The formats that a node has said it knows.
pub fn node_level(view: &dyn View, node: u64) -> Result<u32, StateError> {
    let known = read(view.value(&key::level(node))?, decode)?;
    Ok(known.unwrap_or(FIRST_LEVEL))
}

/// `NodeCommand::SetLevel`
pub(super) fn set_level(
    draft: &mut Draft<'_>,
    node: u64,
    level: u32,
) -> Result<Outcome, StateError> {
    let machines = nodes(&draft.view)?;
    let machine = machines.iter().find(|(number, _)| *number == node);
    if machine.is_some_and(|(_, record)| record.state == NodeState::Removed) {
        return Ok(Outcome::Refused(Refusal::NodeRemoved));
    }
    if node_level(&draft.view, node)? != level {
        draft.put(key::level(node), encode(level));
    }
    let mut lowest = level;
    for (number, record) in machines {
        if record.state != NodeState::Removed && number != node {
            lowest = lowest.min(node_level(&draft.view, number)?);
        }
    }
    raise(draft, lowest)
}

/// A node has gone: those that stay may know more.
pub(super) fn raise_without(draft: &mut Draft<'_>, gone: u64) -> Result<(), StateError> {
    let mut lowest = None;
    for (number, record) in nodes(&draft.view)? {
        if record.state != NodeState::Removed && number != gone {
            let level = node_level(&draft.view, number)?;
            lowest = Some(lowest.map_or(level, |lowest: u32| lowest.min(level)));
        }
    }
    raise(draft, lowest.unwrap_or(FIRST_LEVEL)).map(drop)
}

fn raise(draft: &mut Draft<'_>, level: u32) -> Result<Outcome, StateError> {
    if level > format_level(&draft.view)? {
        draft.put(key::level(CLUSTER_ID), encode(level));
    }
    Ok(Outcome::Applied)
}

pub(super) fn encode(level: u32) -> Vec<u8> {
    let mut writer = start();
    writer.u32(level);
    writer.finish()
}

pub(super) fn decode(bytes: &[u8]) -> Result<u32, CodecError> {
    decode_record(bytes, "level", Reader::u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::world::World;
    use crate::metadata::{Command, NodeAddress, NodeCommand};

    fn describe(world: &mut World, node: u64) {
        let command = NodeCommand::Describe {
            node,
            node_uuid: [u8::try_from(node).unwrap(); 16],
            address: NodeAddress::parse(&format!("a{node}:1")).unwrap(),
        };
        assert_eq!(world.run(&Command::Node(command)), Outcome::Applied);
    }

    fn say(world: &mut World, node: u64, level: u32) -> u32 {
        let command = NodeCommand::SetLevel { node, level };
        assert_eq!(world.run(&Command::Node(command)), Outcome::Applied);
        format_level(&world.view).unwrap()
    }

    #[test]
    fn the_cluster_knows_what_its_last_node_knows_and_never_less_than_before() {
        let mut world = World::default();
        for node in 1..=3 {
            describe(&mut world, node);
        }
        assert_eq!(format_level(&world.view).unwrap(), 1);
        assert_eq!(say(&mut world, 1, 3), 1);
        assert_eq!(say(&mut world, 2, 2), 1);
        assert_eq!(say(&mut world, 3, 2), 2);
        assert_eq!(say(&mut world, 2, 3), 2);
        let remove = Command::Node(NodeCommand::Remove { node: 3 });
        assert_eq!(world.run(&remove), Outcome::Applied);
        assert_eq!(format_level(&world.view).unwrap(), 3);
        // Neither a newcomer nor a step back takes it back.
        describe(&mut world, 4);
        assert_eq!(say(&mut world, 1, 1), 3);
        assert_eq!(node_level(&world.view, 1).unwrap(), 1);
        let gone = NodeCommand::SetLevel { node: 3, level: 9 };
        let refused = Outcome::Refused(Refusal::NodeRemoved);
        assert_eq!(world.run(&Command::Node(gone)), refused);
    }

    #[test]
    fn a_node_that_runs_alone_raises_the_level_by_itself() {
        let mut world = World::default();
        assert_eq!(say(&mut world, 1, 2), 2);
    }
}
