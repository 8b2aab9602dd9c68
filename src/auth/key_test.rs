use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/auth/", $name))
    };
}

const MESSAGE: &[u8] = b"message";

/// A private key of each kind with the forms of its public key.
fn pairs() -> Vec<(jsonwebtoken::Algorithm, EncodingKey, Vec<&'static [u8]>)> {
    vec![
        (
            jsonwebtoken::Algorithm::ES256,
            EncodingKey::from_ec_pem(fixture!("ec.key")).unwrap(),
            vec![fixture!("ec.pub"), fixture!("ec.crt")],
        ),
        (
            jsonwebtoken::Algorithm::RS256,
            EncodingKey::from_rsa_pem(fixture!("rsa.key")).unwrap(),
            vec![fixture!("rsa.pub"), fixture!("rsa.crt")],
        ),
        (
            jsonwebtoken::Algorithm::EdDSA,
            EncodingKey::from_ed_pem(fixture!("ed.key")).unwrap(),
            vec![fixture!("ed.pub")],
        ),
    ]
}

fn signature(private: &EncodingKey, algorithm: jsonwebtoken::Algorithm) -> Vec<u8> {
    let text = crypto::sign(MESSAGE, private, algorithm).unwrap();
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn every_form_of_a_key_verifies_what_its_owner_signed() {
    for (algorithm, private, forms) in pairs() {
        let signature = signature(&private, algorithm);
        for form in forms {
            let keys = Key::read_all(form).unwrap();
            assert_eq!(keys.len(), 1);
            assert_eq!(keys[0].algorithm_name(), format!("{algorithm:?}"));
            assert!(keys[0].verifies(MESSAGE, &signature));
            assert!(!keys[0].verifies(b"massage", &signature));
        }
    }
}

#[test]
fn one_file_may_hold_several_keys() {
    let all = [
        fixture!("ec.pub").as_slice(),
        fixture!("rsa.crt"),
        fixture!("ed.pub"),
    ]
    .concat();
    let names: Vec<_> = Key::read_all(&all)
        .unwrap()
        .iter()
        .map(Key::algorithm_name)
        .collect();
    assert_eq!(names, ["ES256", "RS256", "EdDSA"]);
}

#[test]
fn what_is_no_usable_public_key_is_refused() {
    let rows: [(&[u8], KeyError); 7] = [
        (b"", KeyError::Form),
        (b"secret", KeyError::Form),
        (b"{}", KeyError::Form),
        (br#"{"keys":[]}"#, KeyError::Empty),
        (fixture!("p384.pub"), KeyError::Kind),
        (fixture!("rsa1024.pub"), KeyError::Kind),
        (
            fixture!("ec.key"),
            KeyError::Unexpected("PRIVATE KEY".to_owned()),
        ),
    ];
    for (content, expected) in rows {
        assert_eq!(Key::read_all(content).unwrap_err(), expected);
    }
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        Key::read_all(certificate.as_bytes()).unwrap_err(),
        KeyError::Certificate
    );
    let many = fixture!("ed.pub").repeat(KEYS_MAX + 1);
    assert_eq!(Key::read_all(&many).unwrap_err(), KeyError::TooMany);
}

/// Members of the JWK of the EC fixture.
fn web_key() -> Value {
    let key = &Key::read_all(fixture!("ec.pub")).unwrap()[0];
    let point = key.verifier.as_ref();
    let coordinate = |at: usize| URL_SAFE_NO_PAD.encode(&point[at..at + COORDINATE_BYTES]);
    json!({ "kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "alg": "ES256",
        "x": coordinate(1), "y": coordinate(1 + COORDINATE_BYTES) })
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

#[test]
fn a_key_set_gives_keys_with_their_names() {
    let private = EncodingKey::from_ec_pem(fixture!("ec.key")).unwrap();
    let signature = signature(&private, jsonwebtoken::Algorithm::ES256);
    let set = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }, web_key()] });
    let keys = Key::read_all(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), 1, "a shared secret verifies nothing");
    assert_eq!(keys[0].id(), Some("one"));
    assert!(keys[0].verifies(MESSAGE, &signature));
}

#[test]
fn keys_of_a_set_that_do_not_fit_are_passed_over() {
    let rows = [
        with(web_key(), "use", json!("enc")),
        with(web_key(), "alg", json!("HS256")),
        with(web_key(), "alg", json!("RS256")),
        with(web_key(), "crv", json!("P-384")),
        with(web_key(), "kty", json!("oct")),
        with(web_key(), "kty", json!(1)),
        with(web_key(), "x", json!("AAAA")),
        with(web_key(), "x", json!("not base64!")),
        with(web_key(), "x", Value::Null),
        json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }),
        json!([]),
        json!("key"),
    ];
    for row in rows {
        let set = json!({ "keys": [row] });
        let error = Key::read_all(set.to_string().as_bytes()).unwrap_err();
        assert_eq!(error, KeyError::Empty, "{row}");
    }
}
