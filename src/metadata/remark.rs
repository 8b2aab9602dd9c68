//! What only the version after this one writes; see `base::tomorrow`.
//!
//! ```text
//! command   255 | u64 node
//! key       remark/ node          a node of that version has said so
//! ```

use crate::metadata::command::Command;
use crate::metadata::draft::Draft;
use crate::metadata::key;
use crate::metadata::outcome::Outcome;
use crate::metadata::record::StateError;
use crate::metadata::view::View;

/// The command's number.
pub(in crate::metadata) const REMARK_TAG: u8 = 255;
const REMARKS: &[u8] = b"remark/";

/// `Command::Remark`
pub(in crate::metadata) fn remark(draft: &mut Draft<'_>, node: u64) -> Outcome {
    draft.mark([REMARKS, &node.to_be_bytes()].concat());
    Outcome::Applied
}

impl Command {
    /// How many nodes have made their remark.
    pub fn remark_count(view: &dyn View) -> Result<u64, StateError> {
        let mut count = 0;
        view.scan(REMARKS, &key::end_of(REMARKS), &mut |_, _| {
            count += 1;
            true
        })?;
        Ok(count)
    }
}
