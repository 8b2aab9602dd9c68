//! Hashes of passwords. Checking one takes long, and is meant to: never on a shard.

use std::fmt;

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha_crypt::ShaCrypt;

use super::md5_crypt;
use crate::base::random_bytes;

/// A second of one CPU, about.
const BCRYPT_COSTS_MAX: u32 = 15;
/// Memory that one check may take, in KiB: two threads then take half a GiB.
const ARGON2_MEMORY_KIBS_MAX: u32 = 256 * 1024;
/// Passes over that memory.
const ARGON2_PASSES_MAX: u32 = 16;
/// Rounds of the crypt forms: a fifth of a second, about. By default they have 5,000.
const CRYPT_ROUNDS_MAX: u32 = 200_000;
/// Longest hash that is looked at; 128 is usual.
const HASH_BYTES_MAX: usize = 512;
/// Characters of the crypt forms.
const SHA256_CRYPT_BYTES: usize = 43;
const SHA512_CRYPT_BYTES: usize = 86;
/// Random bytes against precomputed tables. Source: RFC 9106, section 3.1.
const SALT_BYTES: usize = 16;
/// Bytes of a fingerprint: two hashes never share one by chance.
const FINGERPRINT_BYTES: usize = 12;

/// A hash that cannot be checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// An unknown form.
    #[error(
        "not a bcrypt, argon2id, sha512-crypt, sha256-crypt or md5-crypt hash; `windlass hash-password` makes one"
    )]
    Form,
    /// Checking it would take longer than a login may.
    #[error("checking this hash would take too long; `windlass hash-password` makes a cheaper one")]
    Cost,
    /// The machine failed.
    #[error("the password could not be hashed")]
    Hash,
}

/// The hash of a password. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    form: Form,
    text: Box<str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Bcrypt,
    Argon2,
    Crypt,
    Md5Crypt,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

impl PasswordHash {
    /// Reads a hash: `$2a$`, `$2b$`, `$2y$`, `$argon2id$`, `$5$`, `$6$`, `$1$`, `$apr1$`.
    ///
    /// - Errors: another or malformed form, or a cost that a login may not have.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() > HASH_BYTES_MAX || !is_printable {
            return Err(HashError::Form);
        }
        let form = match text.split('$').nth(1) {
            Some("2a" | "2b" | "2y") => check_bcrypt(text).map(|()| Form::Bcrypt),
            Some("argon2id") => check_argon2(text).map(|()| Form::Argon2),
            Some("5") => check_crypt(text, SHA256_CRYPT_BYTES).map(|()| Form::Crypt),
            Some("6") => check_crypt(text, SHA512_CRYPT_BYTES).map(|()| Form::Crypt),
            Some("1" | "apr1") if md5_crypt::is_hash(text) => Ok(Form::Md5Crypt),
            _ => Err(HashError::Form),
        }?;
        Ok(Self {
            form,
            text: text.into(),
        })
    }

    /// Hashes a new password by argon2id.
    ///
    /// - Source: RFC 9106; parameters of the OWASP password storage cheat sheet.
    pub fn of(password: &str) -> Result<Self, HashError> {
        let salt: [u8; SALT_BYTES] = random_bytes();
        let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        let text = hash.map_err(|_| HashError::Hash)?.to_string();
        Ok(Self {
            form: Form::Argon2,
            text: text.into(),
        })
    }

    /// Whether this is the hash of `password`. Takes about as long whether or not.
    #[must_use]
    pub fn verify(&self, password: &str) -> bool {
        let password = password.as_bytes();
        match self.form {
            Form::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or_default(),
            Form::Argon2 => Argon2::default()
                .verify_password(password, &*self.text)
                .is_ok(),
            Form::Crypt => ShaCrypt::SHA512
                .verify_password(password, &*self.text)
                .is_ok(),
            Form::Md5Crypt => md5_crypt::verify(password, &self.text),
        }
    }

    /// Whether the password is soon guessed by whoever has the hash.
    #[must_use]
    pub const fn is_weak(&self) -> bool {
        matches!(self.form, Form::Md5Crypt)
    }

    /// The hash as it is kept in files.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A short name of the hash: what was given out under it ends when the password
    /// changes.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.text.as_bytes());
        URL_SAFE_NO_PAD.encode(hash.as_ref().get(..FINGERPRINT_BYTES).unwrap_or_default())
    }
}

fn check_bcrypt(text: &str) -> Result<(), HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Form)?;
    within(parts.get_cost(), BCRYPT_COSTS_MAX)
}

fn check_argon2(text: &str) -> Result<(), HashError> {
    let hash = argon2::PasswordHash::new(text).map_err(|_| HashError::Form)?;
    let params = argon2::Params::try_from(&hash).map_err(|_| HashError::Form)?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(HashError::Form);
    }
    within(params.m_cost(), ARGON2_MEMORY_KIBS_MAX)?;
    within(params.t_cost(), ARGON2_PASSES_MAX)
}

/// `$6$rounds=N$salt$hash` or `$6$salt$hash`.
fn check_crypt(text: &str, hash_bytes: usize) -> Result<(), HashError> {
    let parts: Vec<_> = text.split('$').skip(2).collect();
    let (rounds, salt, hash) = match parts.as_slice() {
        [rounds, salt, hash] => (Some(*rounds), *salt, *hash),
        [salt, hash] => (None, *salt, *hash),
        _ => return Err(HashError::Form),
    };
    if salt.is_empty() || hash.len() != hash_bytes {
        return Err(HashError::Form);
    }
    let Some(rounds) = rounds else { return Ok(()) };
    let rounds = rounds
        .strip_prefix("rounds=")
        .and_then(|text| text.parse().ok());
    within(rounds.ok_or(HashError::Form)?, CRYPT_ROUNDS_MAX)
}

const fn within(value: u32, most: u32) -> Result<(), HashError> {
    if value <= most {
        Ok(())
    } else {
        Err(HashError::Cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `sesame` by other programs: the bcrypt and argon2
    /// modules of Python, and `openssl passwd`.
    const HASHES: [&str; 6] = [
        "$2y$05$gYu9YZzIo5CLEPkWai8M/OVlDJr0UDJ1GGxMy1eOTu3HYEguSgUI6",
        "$argon2id$v=19$m=4096,t=2,p=1$Qu+rPdJ6t5XNNDn035YJTg$k+LFrZKtCZ21Fywy7G0QbnMGOGvC4hzY++tcvyzf0tY",
        "$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1",
        "$5$saltsalt$Arv3XkXcPR5LHLrzVCBdKV5hwRocYIyFvUvGa9tbc06",
        "$1$saltsalt$J3RStOYaRn/5Iz9DGbAnx1",
        "$apr1$saltsalt$1wcO0UXrrrYuRqru5simD1",
    ];

    #[test]
    fn hashes_of_other_programs_are_checked() {
        for text in HASHES {
            let hash = PasswordHash::parse(text).expect(text);
            assert!(hash.verify("sesame"), "{text}");
            assert!(!hash.verify("Sesame") && !hash.verify(""), "{text}");
            let is_md5 = text.starts_with("$1$") || text.starts_with("$apr1$");
            assert_eq!(hash.is_weak(), is_md5, "{text}");
        }
    }

    #[test]
    fn a_new_hash_is_salted_and_reads_back() {
        let hash = PasswordHash::of("sesame").unwrap();
        assert!(PasswordHash::parse(hash.as_str()).unwrap().verify("sesame"));
        let other = PasswordHash::of("sesame").unwrap();
        assert_ne!(hash.fingerprint(), other.fingerprint());
        assert!(!format!("{hash:?}").contains("argon2"));
    }

    #[test]
    fn what_is_no_hash_or_too_costly_is_refused() {
        for text in [
            "",
            "sesame",
            "{SHA}abc",
            "$apr1$a$b",
            "$1$a$b",
            "$2b$",
            "$2b$12$short",
            "$argon2id$",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "$6$",
            "$6$salt",
            "$6$$",
            "$6$a$b$c$d",
            "$6$rounds=x$a$b",
            "$6$salt$short",
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ",
        ] {
            assert_eq!(PasswordHash::parse(text), Err(HashError::Form), "{text}");
        }
        let bcrypt = HASHES[0].replacen("$05$", "$31$", 1);
        let crypt = HASHES[2].replacen("$6$", "$6$rounds=99999999$", 1);
        let rounds = |count: u32| {
            let text = HASHES[2].replacen("$6$", &format!("$6$rounds={count}$"), 1);
            PasswordHash::parse(&text).err()
        };
        assert_eq!(rounds(200_000), None);
        assert_eq!(rounds(200_001), Some(HashError::Cost));
        let argon = HASHES[1].replacen("m=4096", "m=4194304", 1);
        for text in [bcrypt.as_str(), argon.as_str(), crypt.as_str()] {
            assert_eq!(PasswordHash::parse(text), Err(HashError::Cost), "{text}");
        }
    }
}
