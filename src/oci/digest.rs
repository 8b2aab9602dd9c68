//! Content digests: parsed to bytes once, compared as bytes, printed as text.
//!
//! ```text
//! encoded   u8 algorithm (1 sha256, 2 sha512) | 32 or 64 raw bytes
//! ```

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

use crate::base::{CodecError, Reader, Writer};

/// Longest digest of any algorithm spoken here.
const DIGEST_BYTES_MAX: usize = 64;

/// A digest algorithm that the registry computes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, what every client speaks.
    Sha256,
    /// SHA-512, the other registered algorithm.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in key order.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Finds an algorithm by the text before the colon of a digest.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The text before the colon of a digest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Raw digest length in bytes; the hexadecimal text is twice as long.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is not a digest of this registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `algorithm:lowercase-hex` of the algorithm's length.
    #[error("digest is not `algorithm:hex` of the right length")]
    Malformed,
    /// Well formed, but of an algorithm that is neither sha256 nor sha512.
    #[error("digest algorithm is neither sha256 nor sha512")]
    UnsupportedAlgorithm,
}

/// The name of content: algorithm and raw bytes. Orders as its text does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Zero beyond the algorithm's length, so that the derived order holds.
    bytes: [u8; DIGEST_BYTES_MAX],
}

impl Digest {
    /// Reads `sha256:<64 hex>` or `sha512:<128 hex>`, lower case only.
    ///
    /// - Source: image-spec, descriptor, "Digests".
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Malformed)?;
        let Some(algorithm) = Algorithm::parse(name) else {
            return Err(unknown_algorithm(name, hex));
        };
        let mut bytes = [0; DIGEST_BYTES_MAX];
        if hex.len() != algorithm.digest_bytes() * 2 {
            return Err(DigestError::Malformed);
        }
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(high)? << 4 | nibble(low)?;
        }
        Ok(Self { algorithm, bytes })
    }

    /// Wraps the output of a hash; `None` when the length is not the algorithm's.
    #[must_use]
    pub fn new(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; DIGEST_BYTES_MAX];
        if raw.len() != algorithm.digest_bytes() {
            return None;
        }
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    /// Hashes bytes that are in memory already; for manifests and other small things.
    #[must_use]
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let digest = match algorithm {
            Algorithm::Sha256 => Self::new(algorithm, &Sha256::digest(content)),
            Algorithm::Sha512 => Self::new(algorithm, &Sha512::digest(content)),
        };
        digest.expect("invariant: a hash has its algorithm's length")
    }

    /// The algorithm before the colon.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest, 32 or 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.digest_bytes())
            .expect("invariant: no digest is longer than the array")
    }

    /// The text behind the colon.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(DIGEST_BYTES_MAX * 2);
        for byte in self.as_bytes() {
            hex.push(digit(byte >> 4));
            hex.push(digit(byte & 15));
        }
        hex
    }

    /// Appends the encoded form: one algorithm byte, then the raw bytes.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u8(self.algorithm.code()).raw(self.as_bytes());
    }

    /// Bytes of the encoded form.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        1 + self.algorithm.digest_bytes()
    }

    /// Takes the encoded form.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let code = reader.u8()?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|one| one.code() == code)
            .ok_or(CodecError::Invalid { field: "algorithm" })?;
        let raw = reader.raw(algorithm.digest_bytes())?;
        Self::new(algorithm, raw).ok_or(CodecError::Invalid { field: "digest" })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tells an algorithm nobody computes here from a text that is no digest at all.
fn unknown_algorithm(name: &str, encoded: &str) -> DigestError {
    let is_component = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let is_named = name.split(['+', '.', '_', '-']).all(is_component);
    let is_encoded = !encoded.is_empty()
        && encoded
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"=_-".contains(&b));
    if is_named && is_encoded {
        DigestError::UnsupportedAlgorithm
    } else {
        DigestError::Malformed
    }
}

const fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Malformed),
    }
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).expect("invariant: a nibble is below 16")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SHA-256 of nothing, from FIPS 180 examples.
    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_digest_reads_and_prints_alike() {
        let digest = Digest::parse(EMPTY).unwrap();
        assert_eq!(digest, Digest::of(Algorithm::Sha256, b""));
        assert_eq!(digest.to_string(), EMPTY);
        let long = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(Digest::parse(&long.to_string()), Ok(long));
    }

    #[test]
    fn parse_refuses_what_is_no_digest() {
        let upper = EMPTY.to_uppercase().replace("SHA", "sha");
        let wrong_length = EMPTY.replace("sha256", "sha512");
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:ab",
            &upper,
            &wrong_length,
            "sha256:é",
        ] {
            assert_eq!(Digest::parse(text), Err(DigestError::Malformed), "{text}");
        }
        let other = Err(DigestError::UnsupportedAlgorithm);
        assert_eq!(Digest::parse("blake3:abcd"), other);
        assert_eq!(Digest::parse("sha256+b64:QQ=="), other);
        assert_eq!(Digest::parse("Sha1:ab"), Err(DigestError::Malformed));
        assert_eq!(Digest::parse("md5:a/b"), Err(DigestError::Malformed));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = Digest::parse(&text);
        }

        #[test]
        fn encoded_form_reads_back_and_orders_as_text(
            one in any::<[u8; 32]>(), two in any::<[u8; 32]>(), is_long in any::<bool>(),
        ) {
            let algorithm = if is_long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let (one, two) = (Digest::of(Algorithm::Sha256, &one), Digest::of(algorithm, &two));
            let mut writer = Writer::default();
            two.encode(&mut writer);
            let record = writer.finish();
            prop_assert_eq!(Digest::decode(&mut Reader::new(&record)), Ok(two));
            prop_assert_eq!(one.cmp(&two), one.to_string().cmp(&two.to_string()));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = Digest::decode(&mut Reader::new(&bytes));
        }
    }
}
