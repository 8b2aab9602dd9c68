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
/// Longest key but for its name: family, separator, two digests.
const KEY_BYTES: usize = 160;

fn family(name: &[u8]) -> Writer {
    let mut writer = Writer::with_capacity(KEY_BYTES);
    writer.raw(name);
    writer
}

fn in_repository(name: &[u8], repository: &Repository) -> Writer {
    let mut writer = family(name);
    writer.raw(repository.as_str().as_bytes()).raw(&SEPARATOR);
    writer
}

fn of_digest(name: &[u8], digest: &Digest) -> Writer {
    let mut writer = family(name);
    digest.encode(&mut writer);
    writer
}

fn with_digest(mut writer: Writer, digest: &Digest) -> Vec<u8> {
    digest.encode(&mut writer);
    writer.finish()
}

fn with_text(mut writer: Writer, text: &str) -> Vec<u8> {
    writer.raw(text.as_bytes());
    writer.finish()
}

/// `repository/name`
pub(super) fn repository(repository: &Repository) -> Vec<u8> {
    with_text(family(REPOSITORIES), repository.as_str())
}

/// `tag/name 0`
pub(super) fn tags(repository: &Repository) -> Vec<u8> {
    in_repository(b"tag/", repository).finish()
}

/// `tag/name 0 folded 0 tag`
pub(super) fn tag(repository: &Repository, tag: &Tag) -> Vec<u8> {
    let mut writer = in_repository(b"tag/", repository);
    writer.raw(&tag_order(tag.as_str()));
    writer.finish()
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
    with_digest(in_repository(b"tagged/", repository), digest)
}

/// `tagged/name 0 digest tag`
pub(super) fn tagged_by(repository: &Repository, digest: &Digest, tag: &Tag) -> Vec<u8> {
    let mut key = tagged(repository, digest);
    key.extend_from_slice(tag.as_str().as_bytes());
    key
}

/// `history/name 0 tag`
pub(super) fn history(repository: &Repository, tag: &Tag) -> Vec<u8> {
    with_text(in_repository(b"history/", repository), tag.as_str())
}

/// `manifest/name 0 digest`
pub(super) fn manifest(repository: &Repository, digest: &Digest) -> Vec<u8> {
    with_digest(in_repository(b"manifest/", repository), digest)
}

/// `parts/name 0 digest`
pub(super) fn parts(repository: &Repository, digest: &Digest) -> Vec<u8> {
    with_digest(in_repository(b"parts/", repository), digest)
}

/// `stored/digest`
pub(super) fn stored(digest: &Digest) -> Vec<u8> {
    of_digest(b"stored/", digest).finish()
}

/// `stored/digest name`
pub(super) fn stored_in(digest: &Digest, repository: &Repository) -> Vec<u8> {
    with_text(of_digest(b"stored/", digest), repository.as_str())
}

/// `content/digest`
pub(super) fn content(digest: &Digest) -> Vec<u8> {
    of_digest(b"content/", digest).finish()
}

/// `reference/digest`
pub(super) fn references(digest: &Digest) -> Vec<u8> {
    of_digest(b"reference/", digest).finish()
}

/// `reference/digest name 0 digest`
pub(super) fn reference(part: &Digest, repository: &Repository, manifest: &Digest) -> Vec<u8> {
    let mut writer = of_digest(b"reference/", part);
    writer.raw(repository.as_str().as_bytes()).raw(&SEPARATOR);
    with_digest(writer, manifest)
}

/// `referrer/name 0 subject`
pub(super) fn referrers(repository: &Repository, subject: &Digest) -> Vec<u8> {
    with_digest(in_repository(b"referrer/", repository), subject)
}

/// `referrer/name 0 subject digest`
pub(super) fn referrer(repository: &Repository, subject: &Digest, digest: &Digest) -> Vec<u8> {
    let mut writer = in_repository(b"referrer/", repository);
    subject.encode(&mut writer);
    with_digest(writer, digest)
}

/// `link/name 0 digest`
pub(super) fn link(repository: &Repository, digest: &Digest) -> Vec<u8> {
    with_digest(in_repository(b"link/", repository), digest)
}

/// `home/digest`
pub(super) fn homes(digest: &Digest) -> Vec<u8> {
    of_digest(b"home/", digest).finish()
}

/// `home/digest name`
pub(super) fn home(digest: &Digest, repository: &Repository) -> Vec<u8> {
    with_text(of_digest(b"home/", digest), repository.as_str())
}

/// `blob/digest`
pub(super) fn blob(digest: &Digest) -> Vec<u8> {
    of_digest(BLOBS, digest).finish()
}

/// `extents/digest`
pub(super) fn extents(digest: &Digest) -> Vec<u8> {
    of_digest(b"extents/", digest).finish()
}

/// `inline/digest`
pub(super) fn inline(digest: &Digest) -> Vec<u8> {
    of_digest(b"inline/", digest).finish()
}

/// `holder/digest`
pub(super) fn holders(digest: &Digest) -> Vec<u8> {
    of_digest(b"holder/", digest).finish()
}

/// `holder/digest node`
pub(super) fn holder(digest: &Digest, node: u64) -> Vec<u8> {
    let mut writer = of_digest(b"holder/", digest);
    writer.raw(&node.to_be_bytes());
    writer.finish()
}

/// `policy/name`, or `policy/` for the whole registry
pub(super) fn policy(prefix: &str) -> Vec<u8> {
    with_text(family(b"policy/"), prefix)
}

/// `event/index`
pub(super) fn event(index: u64) -> Vec<u8> {
    let mut writer = family(EVENTS);
    writer.raw(&index.to_be_bytes());
    writer.finish()
}

/// `node/node`
pub(super) fn node(node: u64) -> Vec<u8> {
    let mut writer = family(NODES);
    writer.raw(&node.to_be_bytes());
    writer.finish()
}

/// `token/hash`
pub(super) fn token(hash: &[u8]) -> Vec<u8> {
    let mut writer = family(TOKENS);
    writer.raw(hash);
    writer.finish()
}

/// `level/node`
pub(super) fn level(node: u64) -> Vec<u8> {
    let mut writer = family(b"level/");
    writer.raw(&node.to_be_bytes());
    writer.finish()
}

/// `robot/id`
pub(super) fn robot(id: &[u8]) -> Vec<u8> {
    let mut writer = family(ROBOTS);
    writer.raw(id);
    writer.finish()
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
