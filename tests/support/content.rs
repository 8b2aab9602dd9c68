//! Content that a seed brings back: random bytes, digests, manifests.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use super::registry::{CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE};

/// Splitmix64: small, fast, and the same on every machine.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize fits");
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    /// `count` bytes that no compressor and no cache helps with.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// `sha256:…` of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// `sha512:…` of `bytes`.
pub(crate) fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(bytes)))
}

/// The digest of `bytes` under the algorithm called `name`.
pub(crate) fn digest_of(name: &str, bytes: &[u8]) -> String {
    match name {
        "sha256" => sha256(bytes),
        "sha512" => sha512(bytes),
        _ => panic!("no algorithm {name}"),
    }
}

/// An OCI image manifest over `config` and `layers`, each a digest and a size.
pub(crate) fn image(config: (&str, usize), layers: &[(&str, usize)]) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|(digest, size)| json!({"mediaType": LAYER_TYPE, "digest": digest, "size": size}))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config.0, "size": config.1},
        "layers": layers,
    })
}

/// An OCI index over `manifests`, each a digest and a size.
pub(crate) fn index(manifests: &[(&str, usize)]) -> Value {
    let manifests: Vec<Value> = manifests
        .iter()
        .map(|(digest, size)| json!({"mediaType": MANIFEST_TYPE, "digest": digest, "size": size}))
        .collect();
    json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})
}

fn hex(bytes: &[u8]) -> String {
    let digits = b"0123456789abcdef";
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs
        .map(|half| char::from(digits[usize::from(half)]))
        .collect()
}
