//! Certificates as rcgen makes them, and damaged ones.

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};

use super::*;

fn made(begin: (i32, u8, u8), end: (i32, u8, u8)) -> Vec<u8> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(begin.0, begin.1, begin.2);
    params.not_after = date_time_ymd(end.0, end.1, end.2);
    params.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn the_life_of_a_certificate_is_read_in_both_forms_of_time() {
    // Up to 2049 in the short form, after that in the long one.
    let read = read_certificate(&made((2024, 2, 29), (2126, 12, 31))).unwrap();
    assert_eq!(read.life.begin_unix_seconds, 1_709_164_800);
    assert_eq!(read.life.end_unix_seconds, 4_954_348_800);
    assert_eq!(read.key, Key::Other);
    let read = read_certificate(&made((1970, 1, 1), (2000, 3, 1))).unwrap();
    assert_eq!(read.life.begin_unix_seconds, 0);
    assert_eq!(read.life.end_unix_seconds, 951_868_800);
}

#[test]
fn the_size_of_an_rsa_key_is_that_of_its_modulus() {
    let key = |modulus: &[u8]| {
        let value = |tag, content: &[u8]| {
            let mut value = vec![tag, 0x82];
            value.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            value.extend(content);
            value
        };
        let numbers = value(SEQUENCE_TAG, &value(INTEGER_TAG, modulus));
        let kind = value(SEQUENCE_TAG, &value(OBJECT_ID, &RSA));
        let bits = value(BIT_STRING_TAG, &[&[0][..], &numbers].concat());
        [kind, bits].concat()
    };
    let modulus = |bytes: usize| [&[0][..], &vec![0xc1; bytes]].concat();
    assert_eq!(read_key(&key(&modulus(128))), Some(Key::Rsa { bits: 1024 }));
    assert_eq!(read_key(&key(&modulus(256))), Some(Key::Rsa { bits: 2048 }));
    assert_eq!(read_key(&key(&[0x01, 0xff])), Some(Key::Rsa { bits: 9 }));
    assert_eq!(read_key(&key(&[])), None);
}

proptest! {
    #[test]
    fn damaged_certificates_are_read_or_refused_without_panic(
        cut in 0_usize..400,
        flips in prop::collection::vec((0_usize..400, any::<u8>()), 0..4),
    ) {
        let mut der = made((2024, 1, 1), (2034, 1, 1));
        for (place, value) in flips {
            if let Some(byte) = der.get_mut(place) {
                *byte = value;
            }
        }
        der.truncate(der.len().saturating_sub(cut));
        let _ = read_certificate(&der);
    }
}
