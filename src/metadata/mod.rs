//! What the registry knows, as rules: commands go in, a pure `apply` decides
//! over a key-value view, and changes come out; queries read the same keys. It
//! does not know that it is replicated, nor what stores it.
//!
//! Floor: rules.
//! Uses: base, oci
//! Crates: -

mod apply;
mod apply_blob;
mod apply_holder;
mod apply_manifest;
mod apply_node;
mod apply_robot;
mod command;
mod command_codec;
mod delta;
mod draft;
mod event;
mod holder;
mod key;
mod level;
mod node_address;
mod node_command;
mod node_record;
mod once;
mod outcome;
mod outcome_codec;
mod overlay;
mod policy;
mod put_manifest;
mod query;
mod query_list;
mod record;
mod remembered;
mod robot_command;
mod robot_record;
mod state_record;
mod view;

#[cfg(test)]
#[path = "model_test.rs"]
mod model;
#[cfg(test)]
#[path = "world_test.rs"]
mod world;

pub use apply::{Context, apply};
pub use apply_node::token_fault;
pub use command::{ChangeId, Command, Proposal, Repeat};
pub use delta::Delta;
pub use event::{Event, EventKind};
pub use holder::{holders, is_holder};
pub use level::{
    FORMAT_LEVEL, ONCE_LEVEL, ROBOTS_LEVEL, YIELD_FILE_LEVEL, format_level, known_level, node_level,
};
pub use node_address::{AddressError, NodeAddress};
pub use node_command::{JoinTokenHash, NodeCommand, NodeUuid};
pub use node_record::{NodeRecord, NodeState, node, nodes};
pub use once::ONCE_SLOTS;
pub use outcome::{Kept, Outcome, Refusal, What};
pub use overlay::Overlay;
pub use policy::{Acknowledge, Policy};
pub use put_manifest::{Expected, Part, PutManifest};
pub use query::{
    StoredManifest, blob, clock_ms, extent_checksums, find_anywhere, has_repository,
    inline_content, linked_blob, manifest, manifest_record, missing_parts, next_generation,
    state_hash, tag, tag_record,
};
pub use query_list::{
    Page, ReferrerPage, ReferrerQuery, blobs, events, referrers, repositories, tag_history, tags,
};
pub use record::{BlobRecord, BlobState, ManifestRecord, StateError, TagRecord};
pub use remembered::Remembered;
pub use robot_command::{
    NewRobot, ROBOT_NAME_BYTES_MAX, ROBOT_SCOPE_BYTES_MAX, ROBOT_SCOPES_MAX, RobotCommand,
    RobotHash, RobotId, is_robot_name,
};
pub use robot_record::{RobotRecord, robot, robots};
pub use view::{MemoryView, View, ViewError};
