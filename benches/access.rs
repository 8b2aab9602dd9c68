//! What it costs a request to be let in: `cargo bench --bench access`.
//!
//! The bar: a token that was not seen before below 60 µs, one that was below 1 µs; to
//! count a request well below 1 µs.

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;

use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use windlass::auth::{
    Actions, Authority, Issuer, Key, Needed, Rules, Subject, TokenCache, TokenKind, authorize,
};
use windlass::base::Clock;
use windlass::quota::{Allowance, Caller, Namespace, Options, Quotas, Rate};

/// When the tokens are shown.
const NOW_SECONDS: u64 = 1_000_000;
/// Signs ES256.
const EC_KEY: &[u8] = include_bytes!("../tests/fixtures/auth/ec.key");
/// Signs RS256.
const RSA_KEY: &[u8] = include_bytes!("../tests/fixtures/auth/rsa.key");
/// Signs `EdDSA`.
const ED_KEY: &[u8] = include_bytes!("../tests/fixtures/auth/ed.key");
/// What verifies them.
const PUBLIC_KEYS: [&[u8]; 3] = [
    include_bytes!("../tests/fixtures/auth/ec.crt"),
    include_bytes!("../tests/fixtures/auth/rsa.pub"),
    include_bytes!("../tests/fixtures/auth/ed.pub"),
];

/// Who is trusted: three keys, so that each token has to find its own.
fn issuer() -> Issuer {
    Issuer {
        name: "auth.example.org".into(),
        audiences: vec!["registry.example.org".into()],
        keys: Key::read_all(&PUBLIC_KEYS.concat()).expect("keys"),
    }
}

/// A token as docker gets one for a push that mounts from another repository.
fn token(algorithm: Algorithm, key: &EncodingKey) -> String {
    let claims = json!({ "iss": "auth.example.org", "aud": "registry.example.org", "sub": "bob",
        "exp": NOW_SECONDS + 300, "nbf": NOW_SECONDS, "iat": NOW_SECONDS, "jti": "tYJCO1c6cnyy7kAn",
        "access": [
            { "type": "repository", "name": "team/service/app", "actions": ["pull", "push"] },
            { "type": "repository", "name": "team/base", "actions": ["pull"] },
        ] });
    encode(&Header::new(algorithm), &claims, key).expect("a token")
}

/// Tokens that were not seen before, and tokens that were.
fn tokens(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    let issuer = issuer();
    let keys = [
        (Algorithm::ES256, EncodingKey::from_ec_pem(EC_KEY)),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(RSA_KEY)),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(ED_KEY)),
    ];
    for (algorithm, key) in keys {
        let token = token(algorithm, &key.expect("a key"));
        group.bench_function(format!("verify {algorithm:?}"), |bencher| {
            bencher.iter(|| issuer.verify(black_box(&token), TokenKind::Access, NOW_SECONDS));
        });
        let mut cache = TokenCache::default();
        let verified = issuer.verify(&token, TokenKind::Access, NOW_SECONDS);
        cache.keep(&token, Rc::new(verified.expect("a good token")));
        let needed = Needed::Repository("team/service/app", Actions::PULL);
        group.bench_function(format!("remembered {algorithm:?}"), |bencher| {
            bencher.iter(|| {
                let verified = cache.find(black_box(&token), NOW_SECONDS).expect("known");
                matches!(
                    authorize(Authority::Token(&verified), black_box(&needed)),
                    windlass::auth::Decision::Allowed(_)
                )
            });
        });
    }
}

/// Rules, of which the last one holds.
fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    let rule = |number: usize| -> Value {
        json!({ "subject": { "username": format!("user-{number}"), "network": "10.0.0.0/8" },
            "resource": { "repository": { "regex": format!("^team-{number}/") } },
            "actions": ["pull", "push"] })
    };
    for count in [1, 20, 200] {
        let list: Vec<Value> = (0..count).map(rule).collect();
        let rules = Rules::read(&list).expect("rules");
        let last = count - 1;
        let address = "10.1.2.3".parse().ok();
        let subject = Subject::user(&format!("user-{last}"), address);
        let repository = format!("team-{last}/app");
        group.bench_function(format!("the last of {count}"), |bencher| {
            bencher.iter(|| rules.decide(black_box(&subject), &repository, Actions::PULL));
        });
    }
}

/// What a request is counted for: with nothing bounded, with everything, and when it is
/// one of many clients.
fn quotas(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("quota");
    let clock = Clock::system();
    let caller = Caller {
        name: "bob",
        namespace: Namespace::Users,
        subject: None,
    };
    let bounded = Allowance {
        rate: Some(Rate {
            per_second: 100_000,
            burst: 1_000_000,
        }),
        uploads_max: Some(50),
    };
    for (name, allowance) in [("off", Allowance::default()), ("on", bounded)] {
        let quotas = Quotas::new(&Options {
            address: allowance,
            subject: allowance,
            exempt: Vec::new(),
        });
        let one = IpAddr::from([10, 1, 2, 3]);
        group.bench_function(format!("a request, {name}"), |bencher| {
            bencher.iter(|| {
                let counted = quotas.request_from(black_box(one), &clock);
                counted.and_then(|()| quotas.request_of(black_box(&caller), one, &clock))
            });
        });
        group.bench_function(format!("an upload, {name}"), |bencher| {
            bencher.iter(|| quotas.upload(black_box(one), Some(&caller)).map(drop));
        });
        let mut number = 0_u32;
        group.bench_function(format!("one of many addresses, {name}"), |bencher| {
            bencher.iter(|| {
                number = number.wrapping_add(1) % 100_000;
                quotas.request_from(IpAddr::from(number.to_be_bytes()), &clock)
            });
        });
    }
}

criterion_group!(benches, tokens, rules, quotas);
criterion_main!(benches);
