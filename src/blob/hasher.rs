//! A running content hash whose state can be written down and taken up again.

use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

use crate::base::CodecError;
use crate::oci::{Algorithm, Digest};

/// Hashes a stream. `Clone` forks the stream.
#[derive(Clone, Debug)]
pub(super) enum Hasher {
    /// SHA-256 under way.
    Sha256(Sha256),
    /// SHA-512 under way.
    Sha512(Sha512),
}

impl Hasher {
    /// Starts at the first byte of a blob.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// The algorithm of the digest this will give.
    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds the next bytes; callers cut the stream at `HASH_STEP_BYTES`.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of everything added.
    pub(super) fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let digest = match self {
            Self::Sha256(hash) => Digest::new(algorithm, &hash.finalize()),
            Self::Sha512(hash) => Digest::new(algorithm, &hash.finalize()),
        };
        digest.expect("invariant: a hash has its algorithm's length")
    }

    /// The state as bytes, in the form that `sha2` keeps stable within 0.11; a
    /// golden file watches it.
    ///
    /// - Shape: 105 bytes for SHA-256, 209 for SHA-512: chaining words, block
    ///   count, unfinished block.
    pub(super) fn state(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hash) => hash.serialize().to_vec(),
            Self::Sha512(hash) => hash.serialize().to_vec(),
        }
    }

    /// Takes up a written state.
    ///
    /// - Errors: `Invalid` for a length or a content that no state has.
    pub(super) fn from_state(algorithm: Algorithm, state: &[u8]) -> Result<Self, CodecError> {
        const IMPOSSIBLE: CodecError = CodecError::Invalid { field: "hash" };
        Ok(match algorithm {
            Algorithm::Sha256 => {
                let state = state.try_into().map_err(|_| IMPOSSIBLE)?;
                Self::Sha256(Sha256::deserialize(state).map_err(|_| IMPOSSIBLE)?)
            }
            Algorithm::Sha512 => {
                let state = state.try_into().map_err(|_| IMPOSSIBLE)?;
                Self::Sha512(Sha512::deserialize(state).map_err(|_| IMPOSSIBLE)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_of_the_wrong_length_is_refused() {
        let state = Hasher::new(Algorithm::Sha256).state();
        assert!(Hasher::from_state(Algorithm::Sha512, &state).is_err());
        assert!(Hasher::from_state(Algorithm::Sha256, &state[1..]).is_err());
        assert!(Hasher::from_state(Algorithm::Sha256, &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_digest_of_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            is_long: bool,
        ) {
            let algorithm = if is_long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            for piece in &pieces {
                hasher.update(piece);
                hasher = Hasher::from_state(algorithm, &hasher.state()).unwrap();
            }
            prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &pieces.concat()));
        }

        #[test]
        fn any_bytes_are_a_state_or_refused(bytes in prop::collection::vec(any::<u8>(), 104..106)) {
            drop(Hasher::from_state(Algorithm::Sha256, &bytes));
        }
    }
}
