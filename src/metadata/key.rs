//! Keys of the applied state. Order is the order of lists, so lists page by range.
//!
//! `name` is a repository name; it holds no NUL, so NUL ends it. `digest` is the
//! encoded form: one algorithm byte, then 32 or 64 bytes.
//!
//! ```text
//! repository/ name                        the repository exists
//! tag/        name 0 folded 0 tag         where a tag points; folded to lower case first,
//!                                         as lists are in case-insensitive order
//! tagged/     name 0 digest tag           the same, from the manifest's side
//! history/    name 0 tag                  where a tag pointed before
//! manifest/   name 0 digest               a manifest of a repository
//! parts/      name 0 digest               what that manifest names
//! stored/     digest name                 the repositories that have a manifest
//! content/    digest                      bytes of a manifest, once for all repositories
//! reference/  digest name 0 digest        content, and a manifest that names it
//! referrer/   name 0 subject digest       a manifest about a subject
//! link/       name 0 digest               a blob of a repository
//! home/       digest name                 the same, from the blob's side
//! blob/       digest                      a blob
//! extents/    digest                      its CRC32 list
//! inline/     digest                      its content when it has no file
//! holder/     digest node                 a node that has its file
//! policy/     name or nothing             rules below a prefix
//! event/      index                       what an entry did; big-endian, as node is
//! node/       node                        a machine of the cluster, or one that was
//! token/      hash                        admits one machine, once
//! level/      node or 0                   the formats it knows, and the cluster may write
//! robot/      id                          a machine with a secret of its own
//! done/       node slot                   a change that takes effect once
//! state                                   running hash, clock
//! ```

use crate::base::Writer;
use crate::oci::{Digest, Repository, Tag};

/// Running hash, clock and counters.
pub(super) const STATE: &[u8] = b"state";
/// Every repository.
pub(super) const REPOSITORIES: &[u8] = b"repository/";
/// Every blob.
pub(super) const BLOBS: &[u8] = b"blob/";
/// Every event.
pub(super) const EVENTS: &[u8] = b"event/";
/// Every machine of the cluster.
pub(super) const NODES: &[u8] = b"node/";
/// Every robot.
pub(super) const ROBOTS: &[u8] = b"robot/";
/// Every join token.
pub(super) const TOKENS: &[u8] = b"token/";

/// Ends a repository name; no name holds it.
const SEPARATOR: [u8; 1] = [0];
/// A piece of a key.
enum Piece<'a> {
    Raw(&'a [u8]),
    /// A repository's name and the byte that ends it.
    Name(&'a Repository),
    Of(&'a Digest),
}

use Piece::{Name, Of, Raw};

/// Puts a key together in as many bytes as it has: nearly every one is kept.
fn joined(pieces: &[Piece<'_>]) -> Vec<u8> {
    let bytes = |piece: &Piece<'_>| match piece {
        Raw(bytes) => bytes.len(),
        Name(repository) => repository.as_str().len() + SEPARATOR.len(),
        Of(digest) => digest.encoded_bytes(),
    };
    let mut writer = Writer::with_capacity(pieces.iter().map(bytes).sum());
    for piece in pieces {
        match piece {
            Raw(bytes) => drop(writer.raw(bytes)),
            Name(repository) => drop(writer.raw(repository.as_str().as_bytes()).raw(&SEPARATOR)),
            Of(digest) => digest.encode(&mut writer),
        }
    }
    writer.finish()
}

/// The bytes of a name that nothing follows.
fn text(repository: &Repository) -> Piece<'_> {
    Raw(repository.as_str().as_bytes())
}

/// `repository/name`
pub(super) fn repository(repository: &Repository) -> Vec<u8> {
    joined(&[Raw(REPOSITORIES), text(repository)])
}

/// `tag/name 0`
pub(super) fn tags(repository: &Repository) -> Vec<u8> {
    joined(&[Raw(b"tag/"), Name(repository)])
}

/// `tag/name 0 folded 0 tag`
pub(super) fn tag(repository: &Repository, tag: &Tag) -> Vec<u8> {
    let order = tag_order(tag.as_str());
    joined(&[Raw(b"tag/"), Name(repository), Raw(&order)])
}

/// `folded 0 tag`: sorts tags without regard to case, and tells them apart by it.
///
/// - Source: distribution-spec v1.1, "Listing Tags", "case-insensitive alphanumeric order".
pub(super) fn tag_order(tag: &str) -> Vec<u8> {
    let folded = tag.to_ascii_lowercase();
    [folded.as_bytes(), &SEPARATOR, tag.as_bytes()].concat()
}

/// `tagged/name 0 digest`
pub(super) fn tagged(repository: &Repository, digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"tagged/"), Name(repository), Of(digest)])
}

/// `tagged/name 0 digest tag`
pub(super) fn tagged_by(repository: &Repository, digest: &Digest, tag: &Tag) -> Vec<u8> {
    let tag = Raw(tag.as_str().as_bytes());
    joined(&[Raw(b"tagged/"), Name(repository), Of(digest), tag])
}

/// `history/name 0 tag`
pub(super) fn history(repository: &Repository, tag: &Tag) -> Vec<u8> {
    let tag = Raw(tag.as_str().as_bytes());
    joined(&[Raw(b"history/"), Name(repository), tag])
}

/// `manifest/name 0 digest`
pub(super) fn manifest(repository: &Repository, digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"manifest/"), Name(repository), Of(digest)])
}

/// `parts/name 0 digest`
pub(super) fn parts(repository: &Repository, digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"parts/"), Name(repository), Of(digest)])
}

/// `stored/digest`
pub(super) fn stored(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"stored/"), Of(digest)])
}

/// `stored/digest name`
pub(super) fn stored_in(digest: &Digest, repository: &Repository) -> Vec<u8> {
    joined(&[Raw(b"stored/"), Of(digest), text(repository)])
}

/// `content/digest`
pub(super) fn content(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"content/"), Of(digest)])
}

/// `reference/digest`
pub(super) fn references(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"reference/"), Of(digest)])
}

/// `reference/digest name 0 digest`
pub(super) fn reference(part: &Digest, repository: &Repository, manifest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"reference/"), Of(part), Name(repository), Of(manifest)])
}

/// `referrer/name 0 subject`
pub(super) fn referrers(repository: &Repository, subject: &Digest) -> Vec<u8> {
    joined(&[Raw(b"referrer/"), Name(repository), Of(subject)])
}

/// `referrer/name 0 subject digest`
pub(super) fn referrer(repository: &Repository, subject: &Digest, digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"referrer/"), Name(repository), Of(subject), Of(digest)])
}

/// `link/name 0 digest`
pub(super) fn link(repository: &Repository, digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"link/"), Name(repository), Of(digest)])
}

/// `home/digest`
pub(super) fn homes(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"home/"), Of(digest)])
}

/// `home/digest name`
pub(super) fn home(digest: &Digest, repository: &Repository) -> Vec<u8> {
    joined(&[Raw(b"home/"), Of(digest), text(repository)])
}

/// `blob/digest`
pub(super) fn blob(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(BLOBS), Of(digest)])
}

/// `extents/digest`
pub(super) fn extents(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"extents/"), Of(digest)])
}

/// `inline/digest`
pub(super) fn inline(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"inline/"), Of(digest)])
}

/// `holder/digest`
pub(super) fn holders(digest: &Digest) -> Vec<u8> {
    joined(&[Raw(b"holder/"), Of(digest)])
}

/// `holder/digest node`
pub(super) fn holder(digest: &Digest, node: u64) -> Vec<u8> {
    joined(&[Raw(b"holder/"), Of(digest), Raw(&node.to_be_bytes())])
}

/// `policy/name`, or `policy/` for the whole registry
pub(super) fn policy(prefix: &str) -> Vec<u8> {
    joined(&[Raw(b"policy/"), Raw(prefix.as_bytes())])
}

/// `event/index`
pub(super) fn event(index: u64) -> Vec<u8> {
    joined(&[Raw(EVENTS), Raw(&index.to_be_bytes())])
}

/// `node/node`
pub(super) fn node(node: u64) -> Vec<u8> {
    joined(&[Raw(NODES), Raw(&node.to_be_bytes())])
}

/// `token/hash`
pub(super) fn token(hash: &[u8]) -> Vec<u8> {
    joined(&[Raw(TOKENS), Raw(hash)])
}

/// `level/node`
pub(super) fn level(node: u64) -> Vec<u8> {
    joined(&[Raw(b"level/"), Raw(&node.to_be_bytes())])
}

/// `robot/id`
pub(super) fn robot(id: &[u8]) -> Vec<u8> {
    joined(&[Raw(ROBOTS), Raw(id)])
}

/// `done/node`
pub(super) fn all_done(node: u64) -> Vec<u8> {
    joined(&[Raw(b"done/"), Raw(&node.to_be_bytes())])
}

/// `done/node slot`
pub(super) fn done(node: u64, slot: u16) -> Vec<u8> {
    let (node, slot) = (node.to_be_bytes(), slot.to_be_bytes());
    joined(&[Raw(b"done/"), Raw(&node), Raw(&slot)])
}

/// Whether a value is named by its key already, so that hashing the key hashes both.
pub(super) fn is_content(key: &[u8]) -> bool {
    key.starts_with(b"content/") || key.starts_with(b"inline/")
}

/// The first key behind every key that starts with `prefix`.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

/// The first key behind `prefix` and `after`, which need not exist.
pub(super) fn behind(prefix: &[u8], after: &[u8]) -> Vec<u8> {
    [prefix, after, &SEPARATOR].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(end_of(b"tag/a\0"), b"tag/a\x01");
        assert_eq!(end_of(&[b'b', 7, 255, 255]), [b'b', 8]);
        assert!(end_of(&[b'b', 7, 255, 255]).as_slice() > [b'b', 7, 255, 255, 255].as_slice());
    }

    #[test]
    fn a_repository_does_not_reach_into_one_with_a_longer_name() {
        let name = |text| Repository::parse(text).unwrap();
        let prefix = tags(&name("a"));
        let longer = tag(&name("a-b"), &Tag::parse("c").unwrap());
        assert!(!longer.starts_with(&prefix));
        assert!(longer >= end_of(&prefix));
    }
}
