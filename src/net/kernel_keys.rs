//! Keys of a TLS session, in the form in which the kernel takes them. Pure.

use futures_rustls::rustls::{CipherSuite, ConnectionTrafficSecrets, ProtocolVersion};
use libc::{
    TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, TLS_CIPHER_CHACHA20_POLY1305, tls_crypto_info,
    tls12_crypto_info_aes_gcm_128, tls12_crypto_info_aes_gcm_256,
    tls12_crypto_info_chacha20_poly1305,
};
use nix::sys::socket::sockopt::TlsCryptoInfo;
use zeroize::Zeroize as _;

/// Bytes of a nonce that AES-GCM keeps for a whole session; the rest counts on.
const SALT_BYTES: usize = 4;
/// Records that may go under one key of AES-GCM: RFC 8446, section 5.5, allows 2^24.5.
/// Of ChaCha20-Poly1305 it says that the numbers of the records end before.
const AES_RECORDS_MAX: u64 = 23_000_000;
const _: () = assert!(
    AES_RECORDS_MAX * AES_RECORDS_MAX < 1 << 49,
    "below 2^24.5, by its square"
);
/// Set in the nonces of what the kernel sends over TLS 1.2: see [`info_of`].
const APART_TAG: u8 = 0x80;

/// A version of TLS and a cipher: what the kernel takes, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) version: Version,
    pub(super) cipher: Cipher,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

/// How records are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// Which way the records of a key go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

impl Suite {
    /// All that the kernel could take.
    pub(super) const ALL: [Self; 6] = [
        Self::new(Version::Tls12, Cipher::Aes128Gcm),
        Self::new(Version::Tls12, Cipher::Aes256Gcm),
        Self::new(Version::Tls12, Cipher::ChaCha20Poly1305),
        Self::new(Version::Tls13, Cipher::Aes128Gcm),
        Self::new(Version::Tls13, Cipher::Aes256Gcm),
        Self::new(Version::Tls13, Cipher::ChaCha20Poly1305),
    ];

    const fn new(version: Version, cipher: Cipher) -> Self {
        Self { version, cipher }
    }

    /// What a session has agreed on; `None` when the kernel has no such thing.
    pub(super) const fn of(version: ProtocolVersion, suite: CipherSuite) -> Option<Self> {
        let version = match version {
            ProtocolVersion::TLSv1_2 => Version::Tls12,
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            _ => return None,
        };
        let cipher = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Cipher::Aes128Gcm,
            CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Cipher::Aes256Gcm,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Cipher::ChaCha20Poly1305,
            _ => return None,
        };
        Some(Self::new(version, cipher))
    }

    /// As people call it.
    pub(super) const fn name(self) -> &'static str {
        match (self.version, self.cipher) {
            (Version::Tls12, Cipher::Aes128Gcm) => "1.2 AES-128-GCM",
            (Version::Tls12, Cipher::Aes256Gcm) => "1.2 AES-256-GCM",
            (Version::Tls12, Cipher::ChaCha20Poly1305) => "1.2 ChaCha20-Poly1305",
            (Version::Tls13, Cipher::Aes128Gcm) => "1.3 AES-128-GCM",
            (Version::Tls13, Cipher::Aes256Gcm) => "1.3 AES-256-GCM",
            (Version::Tls13, Cipher::ChaCha20Poly1305) => "1.3 ChaCha20-Poly1305",
        }
    }

    /// Records after which nothing may be sent under a key any more.
    pub(super) const fn records_max(self) -> u64 {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => AES_RECORDS_MAX,
            Cipher::ChaCha20Poly1305 => u64::MAX,
        }
    }

    /// A key that nothing is ever encrypted with, to ask the kernel whether it takes one.
    pub(super) fn info_to_ask(self) -> Option<KernelKey> {
        let key_bytes = match self.cipher {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        };
        let key = [0; 32];
        let (key, _) = key.split_at(key_bytes);
        self.info(key, [0; 12], 0)
    }

    fn info(self, key: &[u8], nonce: [u8; 12], sequence: u64) -> Option<KernelKey> {
        let info = |cipher_type| tls_crypto_info {
            version: match self.version {
                Version::Tls12 => ProtocolVersion::TLSv1_2.into(),
                Version::Tls13 => ProtocolVersion::TLSv1_3.into(),
            },
            cipher_type,
        };
        let (salt, counted) = nonce.split_at(SALT_BYTES);
        let rec_seq = sequence.to_be_bytes();
        let mut made = KernelKey::of(match self.cipher {
            Cipher::Aes128Gcm => TlsCryptoInfo::Aes128Gcm(tls12_crypto_info_aes_gcm_128 {
                info: info(TLS_CIPHER_AES_GCM_128),
                iv: counted.try_into().ok()?,
                key: [0; 16],
                salt: salt.try_into().ok()?,
                rec_seq,
            }),
            Cipher::Aes256Gcm => TlsCryptoInfo::Aes256Gcm(tls12_crypto_info_aes_gcm_256 {
                info: info(TLS_CIPHER_AES_GCM_256),
                iv: counted.try_into().ok()?,
                key: [0; 32],
                salt: salt.try_into().ok()?,
                rec_seq,
            }),
            Cipher::ChaCha20Poly1305 => {
                TlsCryptoInfo::Chacha20Poly1305(tls12_crypto_info_chacha20_poly1305 {
                    info: info(TLS_CIPHER_CHACHA20_POLY1305),
                    iv: nonce,
                    key: [0; 32],
                    salt: [],
                    rec_seq,
                })
            }
        });
        let place = made.key_mut();
        if place.len() != key.len() {
            return None;
        }
        place.copy_from_slice(key);
        Some(made)
    }
}

/// What the kernel is told of one direction of a session. Stays where it was made, and
/// is overwritten before its memory is given back.
pub(super) struct KernelKey(Box<TlsCryptoInfo>);

impl KernelKey {
    /// Boxed without its key: a value that is moved leaves copies behind.
    fn of(info: TlsCryptoInfo) -> Self {
        Self(Box::new(info))
    }

    /// In the form in which it is given to a socket.
    pub(super) fn info(&self) -> &TlsCryptoInfo {
        &self.0
    }

    fn key_mut(&mut self) -> &mut [u8] {
        match &mut *self.0 {
            TlsCryptoInfo::Aes128Gcm(info) => &mut info.key,
            TlsCryptoInfo::Aes256Gcm(info) => &mut info.key,
            TlsCryptoInfo::Chacha20Poly1305(info) => &mut info.key,
        }
    }

    /// Overwrites the key. The nonces are no secret without it.
    fn wipe(&mut self) {
        self.key_mut().zeroize();
    }
}

impl Drop for KernelKey {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// What the kernel is told of one direction of a session; `None` when the secrets are
/// none of the suite.
///
/// Under TLS 1.2 AES-GCM sends a part of the nonce along. The library makes it of a
/// first value and the sequence number by exclusive or, the kernel counts on from the
/// first value: it would begin with the nonce that the last message of the handshake
/// has used, under the same key, which gives the key of authentication away. So the
/// kernel counts in the other half of the numbers.
pub(super) fn info_of(
    suite: Suite,
    way: Way,
    (sequence, secrets): &(u64, ConnectionTrafficSecrets),
) -> Option<KernelKey> {
    use ConnectionTrafficSecrets as Secrets;
    let ((Cipher::Aes128Gcm, Secrets::Aes128Gcm { key, iv })
    | (Cipher::Aes256Gcm, Secrets::Aes256Gcm { key, iv })
    | (Cipher::ChaCha20Poly1305, Secrets::Chacha20Poly1305 { key, iv })) = (suite.cipher, secrets)
    else {
        return None;
    };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().ok()?;
    let is_counted = suite.version == Version::Tls12 && suite.cipher != Cipher::ChaCha20Poly1305;
    if is_counted
        && way == Way::Out
        && let Some(first) = nonce.get_mut(SALT_BYTES)
    {
        *first ^= APART_TAG;
    }
    suite.info(key.as_ref(), nonce, *sequence)
}

#[cfg(test)]
mod tests {
    use futures_rustls::rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    const NONCE: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    /// Secrets as the library gives them; it makes keys of 32 bytes only.
    fn secrets(cipher: Cipher) -> (u64, ConnectionTrafficSecrets) {
        let (key, iv) = (AeadKey::from([7; 32]), Iv::copy(&NONCE));
        let secrets = match cipher {
            Cipher::Aes128Gcm => ConnectionTrafficSecrets::Aes128Gcm { key, iv },
            Cipher::Aes256Gcm => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
            Cipher::ChaCha20Poly1305 => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
        };
        (0x0102, secrets)
    }

    fn aes_256(suite: Suite, way: Way) -> tls12_crypto_info_aes_gcm_256 {
        let key = info_of(suite, way, &secrets(Cipher::Aes256Gcm)).unwrap();
        match key.info() {
            TlsCryptoInfo::Aes256Gcm(info) => *info,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_of_tls_1_3_goes_over_as_it_is() {
        for way in [Way::Out, Way::In] {
            let info = aes_256(Suite::new(Version::Tls13, Cipher::Aes256Gcm), way);
            assert_eq!(info.info.version, 0x0304);
            assert_eq!(info.info.cipher_type, 52);
            assert_eq!(info.salt, [1, 2, 3, 4]);
            assert_eq!(info.iv, [5, 6, 7, 8, 9, 10, 11, 12]);
            assert_eq!(info.key, [7; 32]);
            assert_eq!(info.rec_seq, [0, 0, 0, 0, 0, 0, 1, 2]);
        }
    }

    #[test]
    fn what_the_kernel_sends_over_tls_1_2_uses_no_nonce_of_the_handshake() {
        let suite = Suite::new(Version::Tls12, Cipher::Aes256Gcm);
        let info = aes_256(suite, Way::Out);
        assert_eq!(info.info.version, 0x0303);
        // The library has used the first value with small numbers in its last bytes.
        assert_eq!(info.iv, [0x85, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(aes_256(suite, Way::In).iv, [5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn chacha_keeps_its_whole_nonce() {
        for version in [Version::Tls12, Version::Tls13] {
            let suite = Suite::new(version, Cipher::ChaCha20Poly1305);
            let key = info_of(suite, Way::Out, &secrets(Cipher::ChaCha20Poly1305)).unwrap();
            let TlsCryptoInfo::Chacha20Poly1305(info) = key.info() else {
                panic!("{:?}", key.info())
            };
            assert_eq!(info.iv, NONCE);
            assert_eq!(info.key, [7; 32]);
        }
    }

    #[test]
    fn secrets_of_another_cipher_or_length_are_not_taken() {
        let suite = Suite::new(Version::Tls13, Cipher::Aes128Gcm);
        assert!(info_of(suite, Way::In, &secrets(Cipher::Aes256Gcm)).is_none());
        assert!(info_of(suite, Way::In, &secrets(Cipher::Aes128Gcm)).is_none());
    }

    #[test]
    fn a_key_is_overwritten_when_it_is_dropped() {
        assert!(std::mem::needs_drop::<KernelKey>());
        for suite in Suite::ALL {
            let mut key = suite.info_to_ask().unwrap();
            key.key_mut().fill(9);
            key.wipe();
            assert!(
                key.key_mut().iter().all(|byte| *byte == 0),
                "{}",
                suite.name()
            );
        }
    }

    #[test]
    fn only_keys_of_aes_wear_out() {
        for suite in Suite::ALL {
            let is_aes = suite.cipher != Cipher::ChaCha20Poly1305;
            assert_eq!(suite.records_max() < 1 << 25, is_aes, "{}", suite.name());
        }
    }

    #[test]
    fn every_suite_of_the_listeners_is_known_and_can_be_asked_for() {
        for offered in &super::super::tls::provider().cipher_suites {
            let version = offered.version().version;
            let suite = Suite::of(version, offered.suite()).expect("a suite the kernel may take");
            assert!(suite.info_to_ask().is_some(), "{}", suite.name());
        }
        let other = CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA;
        assert_eq!(Suite::of(ProtocolVersion::TLSv1_2, other), None);
        let old = ProtocolVersion::TLSv1_1;
        assert_eq!(Suite::of(old, CipherSuite::TLS13_AES_128_GCM_SHA256), None);
    }
}
