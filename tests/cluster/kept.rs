//! What was acknowledged under faults, to be looked for afterwards.

use crate::support::digest_of;

/// Something that was acknowledged and must be there for ever.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The manifest's digest.
    pub(crate) manifest: String,
    /// Its blobs.
    pub(crate) blobs: Vec<KeptBlob>,
}

/// A blob that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct KeptBlob {
    /// Its digest.
    pub(crate) digest: String,
    /// How long it is.
    pub(crate) bytes: usize,
    /// The digest of its second half, for reads of a part.
    pub(crate) second_half: String,
}

impl KeptBlob {
    /// Of bytes and their digest.
    pub(crate) fn new(digest: String, content: &[u8]) -> Self {
        Self {
            digest,
            bytes: content.len(),
            second_half: digest_of("sha256", &content[content.len() / 2..]),
        }
    }
}
