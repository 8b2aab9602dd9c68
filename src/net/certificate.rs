//! What a certificate says of its life and its key. The TLS library keeps that to
//! itself, so the few fields are read here; whether the certificate is sound, it has
//! decided before.

/// From when to when a certificate holds, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// It does not hold before.
    pub begin_unix_seconds: u64,
    /// It does not hold after.
    pub end_unix_seconds: u64,
}

/// The fields that are of interest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) life: Life,
    pub(super) key: Key,
}

/// The kind of a key, as far as strength depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// RSA, with a modulus of so many bits.
    Rsa { bits: usize },
    /// Another kind.
    Other,
}

const INTEGER_TAG: u8 = 0x02;
const BIT_STRING_TAG: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME_TAG: u8 = 0x17;
const GENERALIZED_TIME_TAG: u8 = 0x18;
const SEQUENCE_TAG: u8 = 0x30;
/// The explicit version, which only the first form of certificates lacks.
const VERSION_TAG: u8 = 0xa0;
/// `rsaEncryption`. Source: RFC 8017.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `id-RSASSA-PSS`. Source: RFC 8017.
const RSA_PSS: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// Days from March 1 of the year 0 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// Reads a certificate; `None` when it is none.
///
/// - Source: RFC 5280, section 4.1.
pub(super) fn read_certificate(der: &[u8]) -> Option<Certificate> {
    let mut signed = Der(Der(der).take(SEQUENCE_TAG)?);
    let mut fields = Der(signed.take(SEQUENCE_TAG)?);
    if fields.0.first() == Some(&VERSION_TAG) {
        fields.take(VERSION_TAG)?;
    }
    fields.take(INTEGER_TAG)?;
    let [_algorithm, _issuer, validity, _subject, key] =
        [(); 5].map(|()| fields.take(SEQUENCE_TAG));
    let mut validity = Der(validity?);
    let life = Life {
        begin_unix_seconds: validity.time()?,
        end_unix_seconds: validity.time()?,
    };
    let key = read_key(key?)?;
    Some(Certificate { life, key })
}

/// Reads a public key.
fn read_key(key: &[u8]) -> Option<Key> {
    let mut key = Der(key);
    let kind = Der(key.take(SEQUENCE_TAG)?).take(OBJECT_ID)?;
    if kind != RSA && kind != RSA_PSS {
        return Some(Key::Other);
    }
    let (_unused_bits, numbers) = key.take(BIT_STRING_TAG)?.split_first()?;
    let modulus = Der(Der(numbers).take(SEQUENCE_TAG)?).take(INTEGER_TAG)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let digits = modulus.get(zeros..)?;
    let spare = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    let bits = digits.len() * 8 - spare;
    Some(Key::Rsa { bits })
}

/// Values of the distinguished encoding, one after the other.
///
/// ```text
/// tag u8 | length: u8 below 0x80, else 0x80 + n and n bytes, big-endian | content
/// ```
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, which must have `tag`.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Four bytes of length are more than any certificate has.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let length = length
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*found == tag).then_some(content)
    }

    /// The next value, a time in either form, as seconds since 1970; 0 for one before.
    fn time(&mut self) -> Option<u64> {
        let is_short = self.0.first() == Some(&UTC_TIME_TAG);
        let text = if is_short {
            self.take(UTC_TIME_TAG)?
        } else {
            self.take(GENERALIZED_TIME_TAG)?
        };
        let (digits, zone) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (year, digits) = if is_short {
            let (year, digits) = digits.split_at_checked(2)?;
            // Source: RFC 5280, section 4.1.2.5.1.
            let year = number(year);
            (year + if year < 50 { 2000 } else { 1900 }, digits)
        } else {
            let (year, digits) = digits.split_at_checked(4)?;
            (number(year), digits)
        };
        let mut pairs = digits.chunks_exact(2).map(number);
        let [month, day, hour, minute, second] = [(); 5].map(|()| pairs.next());
        let days = days_since_1970(year, month?, day?)?;
        Some(((days * 24 + hour?) * 60 + minute?) * 60 + second?)
    }
}

/// Decimal digits as a number; at most four of them.
fn number(digits: &[u8]) -> u64 {
    let values = digits.iter().map(|digit| u64::from(digit - b'0'));
    values.fold(0, |sum, digit| sum * 10 + digit)
}

/// Days from 1970-01-01 to a date; 0 for one before, `None` for no date.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    let in_year = (153 * month + 2) / 5 + day - 1;
    Some((year * 365 + leaps + in_year).saturating_sub(EPOCH_DAYS))
}

#[cfg(test)]
#[path = "certificate_test.rs"]
mod tests;
