//! The name of an upload session: random, authenticated, and its own address.
//!
//! ```text
//! base32 (a-z2-7) of 40 bytes, so 64 characters:
//! 0   u64  node that owns the session
//! 8   u32  boot of that node, counted from its first start
//! 12  u32  creation, seconds since the Unix epoch
//! 16  u16  shard that owns the session
//! 18  [6]  random
//! 24  [16] HMAC-SHA256(key of the node, DOMAIN | bytes 0..24 | repository), cut
//! ```
//! All numbers are little-endian. The tag makes an id valid only under its own
//! repository, and lets a node know its ids without having written them down.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::base::{Reader, Writer, random_bytes};
use crate::oci::Repository;

/// Characters of an id.
pub(super) const ID_CHARACTERS: usize = 64;
/// Bytes of an id, tag included.
pub(super) const ID_BYTES: usize = 40;
const NAMED_BYTES: usize = 24;
const RANDOM_BYTES: usize = 6;
const TAG_BYTES: usize = ID_BYTES - NAMED_BYTES;
const DOMAIN: &[u8] = b"windlass upload session 1\0";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Names one upload session. Says who owns it; says nothing about whether it lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId([u8; ID_BYTES]);

/// A text that is no upload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upload id is not {ID_CHARACTERS} characters of lower-case base32")]
pub struct UploadIdError;

impl UploadId {
    /// Reads the one textual form; whether the id is authentic is checked when it is used.
    pub fn parse(text: &str) -> Result<Self, UploadIdError> {
        if text.len() != ID_CHARACTERS {
            return Err(UploadIdError);
        }
        let mut id = [0; ID_BYTES];
        let (groups, _) = text.as_bytes().as_chunks::<8>();
        let (parts, _) = id.as_chunks_mut::<5>();
        for (part, group) in parts.iter_mut().zip(groups) {
            let mut bits = 0_u64;
            for character in group {
                bits = bits << 5 | u64::from(value_of(*character).ok_or(UploadIdError)?);
            }
            let [_, _, _, bytes @ ..] = bits.to_be_bytes();
            *part = bytes;
        }
        Ok(Self(id))
    }

    /// Takes over an id from a record that carries its own checksum.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// The id as it stands in records.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// The node that owns the session.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.fields().node
    }

    /// A number that differs from session to session, to spread them by.
    #[must_use]
    pub fn spread(&self) -> u64 {
        let first = self.tag().first_chunk::<8>();
        first.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// What the id says about its session.
    pub(super) fn fields(&self) -> Fields {
        let mut reader = Reader::new(&self.0);
        let mut read = || -> Result<Fields, crate::base::CodecError> {
            Ok(Fields {
                node: reader.u64()?,
                boot: reader.u32()?,
                created_s: reader.u32()?,
                shard: u16::from_le_bytes(reader.array()?),
            })
        };
        read().expect("invariant: an id is longer than its fields")
    }

    fn named(&self) -> &[u8] {
        self.0.split_at(NAMED_BYTES).0
    }

    fn tag(&self) -> &[u8] {
        self.0.split_at(NAMED_BYTES).1
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, _) = self.0.as_chunks::<5>();
        for &[a, b, c, d, e] in parts {
            let bits = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
            for place in (0..8).rev() {
                let [.., low] = (bits >> (place * 5)).to_be_bytes();
                let character = ALPHABET.get(usize::from(low & 31)).copied();
                f.write_str(char::from(character.unwrap_or_default()).encode_utf8(&mut [0; 4]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The readable part of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    /// Node that owns the session.
    pub(super) node: u64,
    /// Boot of that node in which the session began.
    pub(super) boot: u32,
    /// Creation, seconds since the Unix epoch.
    pub(super) created_s: u32,
    /// Shard whose table holds the session.
    pub(super) shard: u16,
}

/// Makes and recognises the ids of one node. Shared by every shard; never changes
/// while the process lives.
#[derive(Clone)]
pub(super) struct Minter {
    key: [u8; 32],
    node: u64,
    boot: u32,
}

impl Minter {
    /// A minter for the `boot`th start of `node`.
    pub(super) const fn new(key: [u8; 32], node: u64, boot: u32) -> Self {
        Self { key, node, boot }
    }

    /// Makes a fresh id. Without a repository it names bytes that no client may ask
    /// for: no repository has the empty name that it is authentic under.
    pub(super) fn mint(
        &self,
        repository: Option<&Repository>,
        shard: u16,
        created_s: u32,
    ) -> UploadId {
        let mut writer = Writer::with_capacity(ID_BYTES);
        writer
            .u64(self.node)
            .u32(self.boot)
            .u32(created_s)
            .raw(&shard.to_le_bytes())
            .raw(&random_bytes::<RANDOM_BYTES>());
        let name = repository.map_or("", Repository::as_str);
        let tag = self.mac(writer.as_slice(), name).finalize();
        writer.raw(tag.into_bytes().split_at(TAG_BYTES).0);
        let id = writer.finish().try_into();
        UploadId(id.expect("invariant: the fields are 24 bytes and the tag 16"))
    }

    /// Whether this node made `id` for `repository`, in this boot or an earlier one.
    pub(super) fn is_authentic(&self, id: &UploadId, repository: &Repository) -> bool {
        let mac = self.mac(id.named(), repository.as_str());
        id.fields().node == self.node && mac.verify_truncated_left(id.tag()).is_ok()
    }

    /// Whether `id` was made since this process started.
    pub(super) fn is_of_this_boot(&self, id: &UploadId) -> bool {
        id.fields().boot == self.boot
    }

    fn mac(&self, named: &[u8], repository: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key);
        let mut mac = mac.expect("invariant: HMAC takes keys of any length");
        mac.update(DOMAIN);
        mac.update(named);
        mac.update(repository.as_bytes());
        mac
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Minter(node {}, boot {})", self.node, self.boot)
    }
}

const fn value_of(character: u8) -> Option<u8> {
    match character {
        b'a'..=b'z' => Some(character - b'a'),
        b'2'..=b'7' => Some(character - b'2' + 26),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repository(name: &str) -> Repository {
        Repository::parse(name).unwrap()
    }

    #[test]
    fn an_id_is_valid_only_under_its_repository_node_and_key() {
        let minter = Minter::new([7; 32], 3, 9);
        let id = minter.mint(Some(&repository("a/b")), 5, 1_700_000_000);
        assert!(minter.is_authentic(&id, &repository("a/b")));
        assert!(!minter.is_authentic(&id, &repository("a/c")));
        assert!(!Minter::new([8; 32], 3, 9).is_authentic(&id, &repository("a/b")));
        assert!(!Minter::new([7; 32], 4, 9).is_authentic(&id, &repository("a/b")));
        let fields = id.fields();
        assert_eq!((fields.node, fields.shard, fields.boot), (3, 5, 9));
        assert_eq!(fields.created_s, 1_700_000_000);
    }

    #[test]
    fn an_earlier_boot_is_authentic_and_told_apart() {
        let id = Minter::new([7; 32], 3, 9).mint(Some(&repository("a")), 0, 0);
        let later = Minter::new([7; 32], 3, 10);
        assert!(later.is_authentic(&id, &repository("a")));
        assert!(!later.is_of_this_boot(&id));
    }

    #[test]
    fn parse_refuses_what_display_never_writes() {
        let good = UploadId([0xa5; ID_BYTES]).to_string();
        assert_eq!(UploadId::parse(&good), Ok(UploadId([0xa5; ID_BYTES])));
        let short: String = good.chars().skip(1).collect();
        let upper = good.to_uppercase();
        let long = format!("{good}a");
        let odd = good.replacen(|_| true, "1", 1);
        for bad in ["", "a", &short, &upper, &long, &odd, &"é".repeat(32)] {
            assert_eq!(UploadId::parse(bad), Err(UploadIdError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(bytes: [u8; ID_BYTES / 2], more: [u8; ID_BYTES / 2]) {
            let mut id = [0; ID_BYTES];
            id[..20].copy_from_slice(&bytes);
            id[20..].copy_from_slice(&more);
            prop_assert_eq!(UploadId::parse(&UploadId(id).to_string()), Ok(UploadId(id)));
        }

        #[test]
        fn one_flipped_bit_is_refused(bit in 0_usize..ID_BYTES * 8) {
            let minter = Minter::new([7; 32], 3, 9);
            let mut id = minter.mint(Some(&repository("a")), 1, 2);
            id.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!minter.is_authentic(&id, &repository("a")));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = UploadId::parse(&text);
        }
    }
}
