//! Which file is meant.

use crate::oci::Digest;

/// Names the file of a blob: content never changes under such a name, and a late
/// removal cannot hit a blob that was pushed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobFile {
    /// Digest of the content.
    pub digest: Digest,
    /// Generation under which it was sealed.
    pub generation: u64,
}
