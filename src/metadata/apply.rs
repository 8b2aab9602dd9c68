//! The one place where commands take effect.

use super::apply_blob::{condemn, extend_leases, link, mount, unlink};
use super::apply_holder::{holders, yield_file};
use super::apply_manifest::{delete_manifest, delete_tag, put_manifest};
use super::apply_node::change_node;
use super::apply_robot::change_robot;
use super::command::Command;
use super::delta::Delta;
use super::draft::Draft;
use super::key;
use super::once::once;
use super::outcome::Outcome;
use super::policy::Policy;
use super::record::StateError;
use super::view::View;
use crate::base::Writer;
use crate::oci::Repository;

#[cfg(feature = "mutants")]
#[path = "remark.rs"]
pub(super) mod remark;

/// Where and when a command is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Its journal index.
    pub index: u64,
    /// When it was proposed, in ms since the Unix epoch; need not be monotonic.
    pub time_ms: u64,
}

/// Decides a command over `view` and returns what it changes.
///
/// - Shape: the same view, context and command give the same outcome and
///   changes on every node; a repeated command finds its work done.
/// - Errors: only when the state cannot be read; nothing was decided then.
pub fn apply(
    view: &dyn View,
    context: Context,
    command: &Command,
) -> Result<(Outcome, Delta), StateError> {
    if matches!(command, Command::Probe) {
        return Ok((Outcome::Applied, Delta::default()));
    }
    let mut draft = Draft::new(view, context.index, context.time_ms)?;
    let outcome = decide(&mut draft, command)?;
    Ok((outcome, draft.finish()?))
}

/// What a command does to a draft.
pub(super) fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<Outcome, StateError> {
    match command {
        Command::LinkBlob { .. } => link(draft, command),
        Command::MountBlob {
            source,
            target,
            digest,
        } => mount(draft, source.as_ref(), target, digest),
        Command::UnlinkBlob { repository, digest } => unlink(draft, repository, digest),
        Command::PutManifest(put) => put_manifest(draft, put),
        Command::DeleteManifest { repository, digest } => {
            delete_manifest(draft, repository, digest)
        }
        Command::DeleteTag { repository, tag } => delete_tag(draft, repository, tag),
        Command::ExtendLeases { digests } => extend_leases(draft, digests),
        Command::Condemn { digest, generation } => condemn(draft, digest, *generation),
        Command::Holders { node, add, remove } => holders(draft, *node, add, remove),
        Command::YieldFile {
            node,
            digest,
            generation,
        } => yield_file(draft, *node, digest, *generation),
        Command::SetPolicy { prefix, policy } => {
            set_policy(draft, prefix.as_ref(), policy.as_ref())
        }
        Command::Probe => Ok(Outcome::Applied),
        Command::Node(command) => change_node(draft, command),
        Command::Robot(command) => change_robot(draft, command),
        Command::Once { id, command } => once(draft, *id, command),
        #[cfg(feature = "mutants")]
        Command::Remark { node } => Ok(remark::remark(draft, *node)),
    }
}

fn set_policy(
    draft: &mut Draft<'_>,
    prefix: Option<&Repository>,
    policy: Option<&Policy>,
) -> Result<Outcome, StateError> {
    let key = key::policy(prefix.map_or("", Repository::as_str));
    let before = draft.view.value(&key)?;
    let after = policy.map(|policy| {
        let mut writer = Writer::default();
        policy.encode(&mut writer);
        writer.finish()
    });
    match (before, after) {
        (None, Some(after)) => {
            draft.state.policies = draft.state.policies.saturating_add(1);
            draft.put(key, after);
        }
        (Some(before), Some(after)) if before != after => draft.put(key, after),
        (Some(_), None) => {
            draft.state.policies = draft.state.policies.saturating_sub(1);
            draft.delete(key);
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    Ok(Outcome::Applied)
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod tests;
