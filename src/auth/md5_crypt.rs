//! Hashes of passwords by MD5, as old files of users have them: checked, never made.
//! A thousand rounds of MD5 hold nobody up who has the file.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use md5::{Digest as _, Md5};

/// What hashes of `crypt` and of Apache's `htpasswd` begin with.
const MAGICS: [&str; 2] = ["$1$", "$apr1$"];
/// Longest salt.
const SALT_BYTES_MAX: usize = 8;
/// Characters of the hash itself.
const TEXT_BYTES: usize = 22;
/// Rounds, fixed by the form.
const FIXED_ROUNDS: usize = 1000;
/// Digits of the hash, six bits each.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Which bytes of the hash make four digits together, the highest first; the twelfth is
/// left, and makes two.
const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// The parts of a hash: how it begins, its salt, and the rest; `None` for other forms.
fn parts(text: &str) -> Option<(&'static str, &str, &str)> {
    let magic = MAGICS.into_iter().find(|magic| text.starts_with(magic))?;
    let (salt, hash) = text.strip_prefix(magic)?.split_once('$')?;
    let is_whole = (1..=SALT_BYTES_MAX).contains(&salt.len())
        && hash.len() == TEXT_BYTES
        && hash.bytes().all(|byte| DIGITS.contains(&byte));
    is_whole.then_some((magic, salt, hash))
}

/// Whether this is such a hash.
pub(super) fn is_hash(text: &str) -> bool {
    parts(text).is_some()
}

/// Whether `text` is the hash of `password`.
pub(super) fn verify(password: &[u8], text: &str) -> bool {
    let Some((magic, salt, expected)) = parts(text) else {
        return false;
    };
    let actual = digits(&hash(password, magic.as_bytes(), salt.as_bytes()));
    verify_slices_are_equal(&actual, expected.as_bytes()).is_ok()
}

/// - Source: FreeBSD, `crypt_md5`; Apache, `apr_md5_encode`.
fn hash(password: &[u8], magic: &[u8], salt: &[u8]) -> [u8; 16] {
    let other: [u8; 16] = digest(&[password, salt, password]);
    let mut start = Md5::new();
    for part in [password, magic, salt] {
        start.update(part);
    }
    let repeated: Vec<u8> = other.into_iter().cycle().take(password.len()).collect();
    start.update(repeated);
    let mut rest = password.len();
    while rest > 0 {
        let first = password.get(..1).unwrap_or_default();
        start.update(if rest & 1 == 1 { &[0] } else { first });
        rest >>= 1;
    }
    (0..FIXED_ROUNDS).fold(start.finalize().into(), |last: [u8; 16], round| {
        let given = |is_given: bool, part| if is_given { part } else { &[][..] };
        let is_odd = round % 2 == 1;
        let (first, second) = if is_odd {
            (password, &last[..])
        } else {
            (&last[..], password)
        };
        let salt = given(round % 3 != 0, salt);
        let middle = given(round % 7 != 0, password);
        digest(&[first, salt, middle, second])
    })
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let all = parts.iter().fold(Md5::new(), Md5::chain_update);
    all.finalize().into()
}

/// Six bits a digit, the lowest first.
fn digits(hash: &[u8; 16]) -> Vec<u8> {
    let byte = |index: usize| u32::from(hash.get(index).copied().unwrap_or_default());
    let groups = GROUPS.map(|[high, middle, low]| {
        let number = byte(high) << 16 | byte(middle) << 8 | byte(low);
        (number, 4)
    });
    let left = (byte(11), 2);
    let all = groups.into_iter().chain([left]);
    all.flat_map(|(number, count)| (0..count).map(move |digit| number >> (6 * digit) & 63))
        .filter_map(|value| DIGITS.get(usize::try_from(value).ok()?).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl passwd -1` and `-apr1`; the first is that of the documentation
    /// of `crypt` in many places.
    const HASHES: [(&str, &str); 7] = [
        ("password", "$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0"),
        ("sesame", "$1$saltsalt$J3RStOYaRn/5Iz9DGbAnx1"),
        ("", "$1$sal$5KaNAgvG.gJ3S0XIZhFRn/"),
        (
            "0123456789012345678901234567890",
            "$1$12345678$qosou6M/G6v7/5cZZMbvW0",
        ),
        ("sesame", "$apr1$saltsalt$1wcO0UXrrrYuRqru5simD1"),
        ("", "$apr1$sal$70Whh8S5Sct2bYL8va8Zu."),
        (
            "0123456789012345678901234567890",
            "$apr1$12345678$YX8hn6/JTEetXF7Y/DH8K0",
        ),
    ];

    #[test]
    fn hashes_of_other_programs_are_checked() {
        for (password, text) in HASHES {
            assert!(is_hash(text) && verify(password.as_bytes(), text), "{text}");
            assert!(!verify(b"Sesame", text), "{text}");
            let other = text.replace("$sal", "$sam").replace("$1234", "$1235");
            assert!(other == text || !verify(password.as_bytes(), &other));
        }
    }

    #[test]
    fn what_is_no_such_hash_verifies_nothing() {
        for text in [
            "",
            "$1$",
            "$1$salt",
            "$1$a$b",
            "$1$$LP5.V3ajGqHDdXW6XwZQy.",
            "$1$123456789$qosou6M/G6v7/5cZZMbvW0",
            "$1$12345678$qosou6M/G6v7/5cZZMbvW",
            "$1$12345678$qosou6M/G6v7/5cZZMbvW=",
            "$2$saltsalt$J3RStOYaRn/5Iz9DGbAnx1",
        ] {
            assert!(!is_hash(text) && !verify(b"", text), "{text}");
        }
    }
}
