use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::{Actions, Key};

const NOW_SECONDS: u64 = 1_000_000;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/auth/", $name))
    };
}

fn issuer() -> Issuer {
    let keys = [
        fixture!("ec.crt").as_slice(),
        fixture!("rsa.pub"),
        fixture!("ed.pub"),
    ]
    .concat();
    Issuer {
        name: "auth.example.org".into(),
        audiences: vec!["registry.example.org".into()],
        keys: Key::read_all(&keys).unwrap(),
    }
}

fn claims() -> Value {
    json!({ "iss": "auth.example.org", "aud": "registry.example.org", "sub": "bob",
        "exp": NOW_SECONDS + 300, "nbf": NOW_SECONDS, "iat": NOW_SECONDS, "jti": "x",
        "access": [{ "type": "repository", "name": "a/b", "actions": ["pull", "push"] }] })
}

fn header() -> Value {
    json!({ "alg": "ES256", "typ": "JWT" })
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    object[member] = value;
    object
}

fn without(mut object: Value, member: &str) -> Value {
    object.as_object_mut().unwrap().remove(member);
    object
}

fn encoded(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn sign(message: &str, algorithm: Algorithm) -> String {
    let key = match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_pem(fixture!("ec.key")).unwrap(),
        Algorithm::RS256 => EncodingKey::from_rsa_pem(fixture!("rsa.key")).unwrap(),
        _ => EncodingKey::from_ed_pem(fixture!("ed.key")).unwrap(),
    };
    crypto::sign(message.as_bytes(), &key, algorithm).unwrap()
}

/// A token over any two texts, properly signed.
fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = sign(&message, Algorithm::ES256);
    format!("{message}.{signature}")
}

fn token(header: &Value, claims: &Value) -> String {
    signed(&header.to_string(), &claims.to_string())
}

fn verify(token: &str) -> Result<Verified, TokenError> {
    issuer().verify(token, TokenKind::Access, NOW_SECONDS)
}

fn refused_claims(claims: &Value, expected: TokenError) {
    assert_eq!(verify(&token(&header(), claims)), Err(expected), "{claims}");
}

fn refused_header(header: &Value, expected: TokenError) {
    assert_eq!(verify(&token(header, &claims())), Err(expected), "{header}");
}

#[test]
fn a_good_token_says_who_and_what() {
    let verified = verify(&token(&header(), &claims())).unwrap();
    assert_eq!(verified.subject.as_deref(), Some("bob"));
    assert_eq!(
        verified.access,
        [Scope::repository("a/b", Actions::PULL | Actions::PUSH)]
    );
    assert_eq!(verified.expires_seconds, NOW_SECONDS + 300);
    for algorithm in [Algorithm::RS256, Algorithm::EdDSA] {
        let header = json!({ "alg": format!("{algorithm:?}") }).to_string();
        let message = format!("{}.{}", encoded(&header), encoded(&claims().to_string()));
        let token = format!("{message}.{}", sign(&message, algorithm));
        assert!(verify(&token).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_header_that_brings_its_key_is_refused() {
    for name in ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"] {
        refused_header(
            &with(header(), name, json!("x")),
            TokenError::Forbidden(name),
        );
        refused_header(
            &with(header(), name, Value::Null),
            TokenError::Forbidden(name),
        );
    }
}

#[test]
fn the_algorithm_is_the_keys_and_not_the_tokens() {
    for algorithm in [
        "none", "None", "", "HS256", "HS512", "ES384", "PS256", "es256", "RS256 ",
    ] {
        refused_header(
            &with(header(), "alg", json!(algorithm)),
            TokenError::UnknownKey,
        );
    }
    // Signed by the EC key, said to be of another: that other key does not verify it.
    for algorithm in ["RS256", "EdDSA"] {
        refused_header(
            &with(header(), "alg", json!(algorithm)),
            TokenError::Signature,
        );
    }
    for algorithm in [Value::Null, json!(1), json!(["ES256"])] {
        refused_header(&with(header(), "alg", algorithm), TokenError::Header("alg"));
    }
    refused_header(&without(header(), "alg"), TokenError::Header("alg"));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let key = EncodingKey::from_secret(fixture!("ec.pub"));
    let header = json!({ "alg": "HS256", "typ": "JWT" }).to_string();
    let message = format!("{}.{}", encoded(&header), encoded(&claims().to_string()));
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    assert_eq!(
        verify(&format!("{message}.{signature}")),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn types_and_names_in_the_header_are_checked() {
    for name in [
        json!("refresh"),
        json!("windlass-refresh+jwt"),
        json!(1),
        Value::Null,
    ] {
        refused_header(&with(header(), "typ", name), TokenError::Header("typ"));
    }
    assert!(verify(&token(&without(header(), "typ"), &claims())).is_ok());
    assert!(verify(&token(&with(header(), "typ", json!("jwt")), &claims())).is_ok());
    for id in [json!(1), Value::Null, json!(["a"])] {
        refused_header(&with(header(), "kid", id), TokenError::Header("kid"));
    }
}

#[test]
fn keys_are_found_by_their_names() {
    let named = |id: &str, key: &Key| key.clone().named(Some(id.into()));
    let own = Key::read_all(fixture!("ec.pub")).unwrap().remove(0);
    let pem = crate::auth::SigningKey::generate_pem().unwrap();
    let other = crate::auth::SigningKey::of_pem(pem.as_bytes()).unwrap();
    let mut issuer = issuer();
    let outcome = |issuer: &Issuer, id: Option<&str>| {
        let header = id.map_or_else(header, |id| with(header(), "kid", json!(id)));
        issuer
            .verify(&token(&header, &claims()), TokenKind::Access, NOW_SECONDS)
            .map(drop)
    };
    assert_eq!(
        outcome(&issuer, Some("any")),
        Ok(()),
        "keys without names are tried for any"
    );
    issuer.keys = vec![named("own", &own), named("other", other.public())];
    assert_eq!(outcome(&issuer, Some("own")), Ok(()));
    assert_eq!(outcome(&issuer, None), Ok(()));
    assert_eq!(outcome(&issuer, Some("other")), Err(TokenError::Signature));
    assert_eq!(
        outcome(&issuer, Some("absent")),
        Err(TokenError::UnknownKey)
    );
    issuer.keys = vec![own, named("other", other.public())];
    assert_eq!(outcome(&issuer, Some("other")), Err(TokenError::Signature));
}

#[test]
fn signatures_that_are_none_are_refused() {
    let good = token(&header(), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = bytes.split_at(32);
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let zero = [0_u8; 32];
    let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    let der = [&[0x30, 0x44, 0x02, 0x20][..], r, &[0x02, 0x20], s].concat();
    let mut rows = vec![
        Vec::new(),
        vec![0],
        bytes[..63].to_vec(),
        [&bytes[..], &[0]].concat(),
        zero.repeat(2),
        [r, &zero].concat(),
        [&zero, s].concat(),
        [&order[..], s].concat(),
        [r, &order].concat(),
        order.repeat(2),
        [s, r].concat(),
        [r, r].concat(),
        vec![0xff; 64],
        flipped,
        der,
        [&[0], &bytes[..]].concat(),
    ];
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        rows.push(flipped);
    }
    for row in rows {
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&row));
        assert_eq!(verify(&token), Err(TokenError::Signature), "{row:x?}");
    }
    // Text that decodes only for lenient readers.
    for signature in [
        format!("{signature}=="),
        format!("{signature} "),
        format!("{signature}A"),
        signature.replace(['-', '_'], "+") + "+",
        "!".repeat(86),
    ] {
        assert!(
            verify(&format!("{message}.{signature}")).is_err(),
            "{signature}"
        );
    }
}

#[test]
fn a_changed_part_is_refused() {
    let good = token(&header(), &claims());
    let parts: Vec<_> = good.split('.').collect();
    let more = with(claims(), "sub", json!("admin")).to_string();
    let changed = format!("{}.{}.{}", parts[0], encoded(&more), parts[2]);
    assert_eq!(verify(&changed), Err(TokenError::Signature));
    let header = encoded(&with(header(), "a", json!(1)).to_string());
    assert_eq!(
        verify(&format!("{header}.{}.{}", parts[1], parts[2])),
        Err(TokenError::Signature)
    );
}

#[test]
fn what_has_not_three_parts_of_base64url_is_refused() {
    let good = token(&header(), &claims());
    let parts: Vec<_> = good.split('.').collect();
    let (head, body, end) = (parts[0], parts[1], parts[2]);
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        head.to_owned(),
        format!("{head}.{body}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{end}"),
        format!("{head}..{end}"),
        format!(".{body}.{end}"),
        format!("{head}=.{body}.{end}"),
        format!(" {good}"),
        format!("{head}\n.{body}.{end}"),
        "é.é.é".to_owned(),
        "bm8.bm8.bm8".to_owned(),
    ] {
        assert!(verify(&text).is_err(), "{text}");
    }
    for payload in [
        "",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{",
        "{}{}",
        r#"{"a":1,"a":2}"#,
    ] {
        assert_eq!(
            verify(&signed(&header().to_string(), payload)),
            Err(TokenError::Malformed),
            "{payload}"
        );
    }
    for header in ["[]", "{", r#"{"alg":"ES256","alg":"none"}"#] {
        assert_eq!(
            verify(&signed(header, &claims().to_string())),
            Err(TokenError::Malformed),
            "{header}"
        );
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let padding = |bytes: usize| with(claims(), "padding", json!("x".repeat(bytes)));
    assert!(verify(&token(&header(), &padding(11_000))).is_ok());
    assert_eq!(
        verify(&token(&header(), &padding(12_500))),
        Err(TokenError::TooLong)
    );
    let deep = |levels: usize| {
        let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        claims().to_string().replace("\"x\"", &text)
    };
    assert!(verify(&signed(&header().to_string(), &deep(15))).is_ok());
    for levels in [16, 200, 5_000] {
        assert_eq!(
            verify(&signed(&header().to_string(), &deep(levels))),
            Err(TokenError::Malformed)
        );
    }
}

#[test]
fn issuer_audience_and_end_are_required_and_typed() {
    for name in ["iss", "aud", "exp"] {
        refused_claims(&without(claims(), name), TokenError::Claim(name));
        for value in [
            Value::Null,
            json!(true),
            json!({}),
            json!([1]),
            json!([["a"]]),
        ] {
            refused_claims(&with(claims(), name, value), TokenError::Claim(name));
        }
    }
    refused_claims(
        &with(claims(), "iss", json!(["auth.example.org"])),
        TokenError::Claim("iss"),
    );
    refused_claims(&with(claims(), "aud", json!(1)), TokenError::Claim("aud"));
    for value in [
        json!("1e9"),
        json!("1000300"),
        json!(-1),
        json!(-0.5),
        json!(1e300),
    ] {
        refused_claims(&with(claims(), "exp", value), TokenError::Claim("exp"));
    }
    for name in ["nbf", "iat"] {
        for value in [Value::Null, json!("0"), json!(-1), json!([]), json!(true)] {
            refused_claims(&with(claims(), name, value), TokenError::Claim(name));
        }
        assert!(verify(&token(&header(), &without(claims(), name))).is_ok());
    }
    for value in [json!(1), json!([]), json!({}), json!(false)] {
        refused_claims(
            &with(claims(), "sub", value.clone()),
            TokenError::Claim("sub"),
        );
        let access = if value == json!([]) {
            json!([1])
        } else {
            value
        };
        refused_claims(
            &with(claims(), "access", access),
            TokenError::Claim("access"),
        );
    }
}

#[test]
fn tokens_of_others_and_for_others_are_refused() {
    for name in [
        "",
        "auth.example.org/",
        "AUTH.example.org",
        "registry.example.org",
    ] {
        refused_claims(&with(claims(), "iss", json!(name)), TokenError::Issuer);
    }
    for name in [
        json!(""),
        json!("other"),
        json!([]),
        json!(["other", "auth.example.org"]),
    ] {
        refused_claims(&with(claims(), "aud", name), TokenError::Audience);
    }
    let both = with(claims(), "aud", json!(["other", "registry.example.org"]));
    assert!(verify(&token(&header(), &both)).is_ok());
}

#[test]
fn time_is_judged_with_a_minute_of_leeway() {
    let ends = |seconds: u64| with(claims(), "exp", json!(seconds));
    assert!(verify(&token(&header(), &ends(NOW_SECONDS - 59))).is_ok());
    refused_claims(&ends(NOW_SECONDS - 60), TokenError::Expired);
    refused_claims(&ends(0), TokenError::Expired);
    assert!(verify(&token(&header(), &ends(u64::MAX))).is_ok());
    let begins = |seconds: u64| with(claims(), "nbf", json!(seconds));
    assert!(verify(&token(&header(), &begins(NOW_SECONDS + 60))).is_ok());
    refused_claims(&begins(NOW_SECONDS + 61), TokenError::TooEarly);
    let fraction = json!(f64::from(u32::try_from(NOW_SECONDS).unwrap()) - 59.5);
    refused_claims(&with(claims(), "exp", fraction), TokenError::Expired);
}

#[test]
fn a_token_without_a_subject_is_anonymous() {
    for subject in [json!(""), Value::Null] {
        let verified = verify(&token(&header(), &with(claims(), "sub", subject))).unwrap();
        assert_eq!(verified.subject, None);
    }
    let verified = verify(&token(&header(), &without(claims(), "access"))).unwrap();
    assert_eq!(verified.access, []);
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".*", parts in prop::collection::vec("[A-Za-z0-9_=.-]{0,40}", 0..5)) {
        prop_assert!(verify(&text).is_err());
        prop_assert!(verify(&parts.join(".")).is_err());
    }

    #[test]
    fn no_change_of_a_good_token_is_taken(at in 0_usize..1000, byte in any::<char>()) {
        let good = token(&header(), &claims());
        let mut changed: Vec<char> = good.chars().collect();
        let at = at % changed.len();
        changed[at] = byte;
        let changed: String = changed.into_iter().collect();
        prop_assert_eq!(verify(&changed).is_ok(), changed == good);
    }

    #[test]
    fn any_claims_are_answered(name in "iss|aud|exp|nbf|iat|sub|access|typ", text in ".{0,40}", number in any::<f64>()) {
        for value in [json!(text), json!([text]), json!({ text: number }), json!(number)] {
            let changed = with(claims(), &name, value);
            drop(verify(&token(&header(), &changed)));
        }
    }
}
