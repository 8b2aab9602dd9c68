//! What it costs a request to be let in: `cargo bench --bench access`.
//!
//! The bar: a token that was not seen before below 60 µs, one that was below 1 µs; to
//! count a request well below 1 µs. An admission is what of that a request pays.

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_lite::future::block_on;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use windlass::auth::{
    Actions, Authority, Issuer, Key, Login, Needed, RobotToken, Rules, Scope, SigningKey, Subject,
    TokenCache, TokenKind, authorize,
};
use windlass::base::Clock;
use windlass::guard::{
    Grant, Guard, Keeper, Mode, Options as Access, Origin, Robots, TokenRequest, UsersOptions,
};
use windlass::http::Head;
use windlass::metadata::RobotRecord;
use windlass::quota::{Allowance, Caller, Namespace, Options, Quotas, Rate};
use windlass::runtime::{Background, ShardPlan, Topology, Wishes};
use windlass::telemetry::Metrics;

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

/// A cheap hash (bcrypt of cost 4) of `sesame`: it is checked once.
const BOB: &str = "bob:$2b$04$/A30yEJFPP44kizfGSyG..OFyoCm2ol/RNYNhOb8CIqy3wEEe6k/i";

/// A guard of so many rules, of which the last one gives bob and everybody else what is
/// asked below, and one robot.
fn guard(rules_count: usize, robot: &RobotToken) -> (Keeper, Guard) {
    let rule = |number: usize| -> Value {
        json!({ "subject": { "username": format!("user-{number}"), "network": "10.0.0.0/8" },
            "resource": { "repository": { "starts": format!("team-{number}/") } },
            "actions": ["pull", "push"] })
    };
    let mut rules: Vec<Value> = (1..rules_count).map(rule).collect();
    rules.push(json!({ "subject": { "anonymous": true },
        "resource": { "repository": { "starts": "team/" } }, "actions": ["pull"] }));
    let users = UsersOptions {
        realm: None,
        other: None,
        users: vec![BOB.into()],
        users_file: None,
        identities: Vec::new(),
        signer: SigningKey::derived(b"bench").expect("a key"),
        token_life: Duration::from_secs(300),
        refresh_life: Duration::from_secs(3000),
    };
    let options = Access {
        mode: Mode::Users(users),
        service: "windlass".into(),
        rules,
        rules_file: None,
    };
    let (id, hash) = (robot.id(), robot.hash());
    let robots = Robots::new(move |asked| {
        let record = RobotRecord {
            name: "ci".into(),
            hash,
            scopes: vec!["team/**:pull".into()],
            created_ms: 0,
            expires_ms: None,
            revoked_ms: None,
        };
        Ok((asked == id).then_some(record))
    });
    let metrics = Arc::new(Metrics::new());
    let plan = ShardPlan::of(&Topology::detect().expect("CPUs"), Wishes::default());
    let background = Background::new(&plan.expect("a plan"));
    let started = Keeper::start(options, robots, &metrics, &background);
    let (keeper, shared) = started.expect("a keeper");
    (keeper, Guard::new(shared, "http://a/token", metrics))
}

/// The whole of an admission, of callers that were let in before.
fn admissions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    let origin = Origin {
        address: IpAddr::from([10, 1, 2, 3]),
        network: Some(IpAddr::from([10, 1, 2, 3])),
        certified: None,
    };
    let needed = Needed::Repository("team/service/app", Actions::PULL);
    for count in [1, 100, 1000] {
        let robot = RobotToken::random();
        let (_keeper, guard) = guard(count, &robot);
        let request = TokenRequest {
            grant: Grant::Password(Login::new("bob", "sesame").expect("a login")),
            scopes: Scope::parse_list("repository:team/service/app:pull").collect(),
            is_offline: false,
        };
        let token = block_on(guard.grant(request, origin))
            .expect("a token")
            .token;
        let basic = |login: String| format!("Authorization: Basic {}\r\n", STANDARD.encode(login));
        let rows = [
            ("anonymous", String::new()),
            ("a token", format!("Authorization: Bearer {token}\r\n")),
            ("a password", basic("bob:sesame".to_owned())),
            ("a robot", basic(format!("ci:{}", robot.reveal()))),
        ];
        for (name, authorization) in rows {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{authorization}\r\n");
            let head = Head::parse(text.as_bytes())
                .expect("a head")
                .expect("a whole head")
                .0;
            let admit = || block_on(guard.admit(black_box(&head), origin, black_box(&needed)));
            assert!(admit().is_ok(), "{name}");
            group.bench_function(format!("{name}, {count} rules"), |bencher| {
                bencher.iter(|| admit().is_ok());
            });
        }
    }
}

criterion_group!(benches, tokens, rules, quotas, admissions);
criterion_main!(benches);
