//! Robots at the door of a shard: what their secrets and tokens give, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::auth::{Actions, Needed, SigningKey};
use crate::base::Clock;
use crate::guard::book::Book;
use crate::guard::issuer_keys::Generation;
use crate::guard::keeper::Shared;
use crate::guard::{
    Grant, Granted, Mode, Named, Options, Origin, Refused, TokenRequest, UsersOptions,
};
use crate::http::Head;
use crate::runtime::run_alone;
use crate::telemetry::{Metrics, TokenCheck};

const CLIENT: Origin<'_> = Origin {
    address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    network: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
    certified: None,
};
/// Never, or not yet.
const NEVER_MS: u64 = u64::MAX;

/// A guard that knows one robot, `ci`, which ends when it is told to.
struct Door {
    guard: Guard,
    token: RobotToken,
    revoked_ms: Arc<AtomicU64>,
}

fn door(clock: &Clock, expires_ms: Option<u64>, scopes: &[&str]) -> Door {
    let rules = json!([
        { "actions": ["pull"] },
        { "subject": { "robot": "ci" }, "resource": { "repository": "extra" }, "actions": ["delete"] },
    ]);
    let users = UsersOptions {
        realm: None,
        other: None,
        users: Vec::new(),
        users_file: None,
        identities: Vec::new(),
        signer: SigningKey::derived(b"secret").unwrap(),
        token_life: Duration::from_secs(300),
        refresh_life: Duration::from_secs(3000),
    };
    let options = Arc::new(Options {
        mode: Mode::Users(users),
        service: "windlass".into(),
        rules: rules.as_array().unwrap().clone(),
        rules_file: None,
    });
    let token = RobotToken::random();
    let revoked = Arc::new(AtomicU64::new(NEVER_MS));
    let (known, revoked_ms) = (token.clone(), Arc::clone(&revoked));
    let scopes: Vec<Box<str>> = scopes.iter().map(|text| (*text).into()).collect();
    let robots = Robots::new(move |id| {
        let record = RobotRecord {
            name: "ci".into(),
            hash: known.hash(),
            scopes: scopes.clone(),
            created_ms: 0,
            expires_ms,
            revoked_ms: Some(revoked.load(Ordering::SeqCst)).filter(|time_ms| *time_ms != NEVER_MS),
        };
        Ok((id == known.id()).then_some(record))
    });
    let (_, books) = watch::channel(Arc::new(Book::read(&options).unwrap()));
    let shared = Shared {
        options,
        books,
        hasher: None,
        robots,
        sources: Arc::default(),
        generation: Generation::default(),
    };
    let mut guard = Guard::new(shared, "http://a/token", Arc::new(Metrics::new()));
    guard.clock = clock.clone();
    Door {
        guard,
        token,
        revoked_ms,
    }
}

impl Door {
    async fn shows(&self, authorization: &str, needed: &Needed<'_>) -> Result<(), Refused> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n");
        let (head, _) = Head::parse(text.as_bytes()).unwrap().unwrap();
        self.guard.admit(&head, CLIENT, needed).await.map(drop)
    }

    async fn logs_in(&self, name: &str, secret: &str, needed: &Needed<'_>) -> Result<(), Refused> {
        use base64::Engine as _;
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
        self.shows(&format!("Basic {login}"), needed).await
    }

    async fn token(&self, scopes: &str) -> Option<Granted> {
        let request = TokenRequest {
            grant: Grant::Password(Login::new("ci", &self.token.reveal()).unwrap()),
            scopes: crate::auth::Scope::parse_list(scopes).collect(),
            is_offline: true,
        };
        self.guard.grant(request, CLIENT).await.ok()
    }
}

const PULL: Needed<'_> = Needed::Repository("team/app", Actions::PULL);

#[test]
fn a_secret_proves_its_robot_and_nobody_else() {
    run_alone(|| async {
        let clock = Clock::hand_moved();
        let door = door(&clock, None, &["team/*:pull", "catalog"]);
        let secret = door.token.reveal();
        assert_eq!(door.logs_in("ci", &secret, &PULL).await, Ok(()));
        assert_eq!(door.logs_in("ci", &secret, &Needed::Catalog).await, Ok(()));
        let push = Needed::Repository("team/app", Actions::STORE);
        let denied = Err(Refused::Denied {
            named: Named {
                user: Some("ci".into()),
                user_of: Some("robots".into()),
                robot: Some(robot_id_text(door.token.id())),
            },
            rules: None,
        });
        assert_eq!(door.logs_in("ci", &secret, &push).await, denied);
        // A rule for everybody is none for robots; one that names it is.
        let other = Needed::Repository("other", Actions::PULL);
        assert_eq!(door.logs_in("ci", &secret, &other).await, denied);
        let named = Needed::Repository("extra", Actions::DELETE);
        assert_eq!(door.logs_in("ci", &secret, &named).await, Ok(()));
        let stranger = RobotToken::random().reveal();
        for (name, secret) in [("bob", &secret), ("ci", &stranger), ("", &secret)] {
            let refused = door.logs_in(name, secret, &PULL).await;
            assert!(matches!(refused, Err(Refused::Challenged { .. })), "{name}");
        }
    });
}

/// A secret of 256 bits is not guessed: what is wrong from one address keeps nobody
/// there from showing what is right.
#[test]
fn wrong_secrets_do_not_keep_right_ones_out() {
    run_alone(|| async {
        let clock = Clock::hand_moved();
        let door = door(&clock, None, &["team/*:pull"]);
        while door.guard.misled(CLIENT.address).is_ok() {}
        let stranger = RobotToken::random().reveal();
        let refused = door.logs_in("ci", &stranger, &PULL).await;
        assert!(matches!(refused, Err(Refused::Limited(_))), "{refused:?}");
        let secret = door.token.reveal();
        assert_eq!(door.logs_in("ci", &secret, &PULL).await, Ok(()));
    });
}

#[test]
fn a_token_has_the_robots_rights_and_no_refresh_token() {
    run_alone(|| async {
        let door = door(&Clock::hand_moved(), None, &["team/*:pull"]);
        let granted =
            door.token("repository:team/app:pull,push registry:catalog:* repository:extra:delete");
        let granted = granted.await.unwrap();
        let scopes: Vec<_> = granted.scopes.iter().map(ToString::to_string).collect();
        assert_eq!(
            scopes,
            ["repository:team/app:pull", "repository:extra:delete"]
        );
        assert_eq!(granted.refresh_token, None);
        assert_eq!(granted.life, Duration::from_secs(300));
        let bearer = format!("Bearer {}", granted.token);
        assert_eq!(door.shows(&bearer, &PULL).await, Ok(()));
        assert!(door.shows(&bearer, &Needed::Catalog).await.is_err());
    });
}

#[test]
fn nothing_outlives_the_robot() {
    run_alone(|| async {
        let clock = Clock::hand_moved();
        let end_ms = (clock.unix_ms() / 1000 + 100) * 1000;
        let door = door(&clock, Some(end_ms), &["team/*:pull"]);
        let secret = door.token.reveal();
        let granted = door.token("repository:team/app:pull").await.unwrap();
        assert!(granted.issued_seconds + granted.life.as_secs() <= end_ms / 1000);
        let bearer = format!("Bearer {}", granted.token);
        clock.advance(Duration::from_secs(98));
        assert_eq!(door.shows(&bearer, &PULL).await, Ok(()));
        assert_eq!(door.logs_in("ci", &secret, &PULL).await, Ok(()));
        // Without the leeway that tokens have.
        clock.advance(Duration::from_secs(2));
        assert!(door.shows(&bearer, &PULL).await.is_err());
        assert!(door.logs_in("ci", &secret, &PULL).await.is_err());
        assert!(door.token("").await.is_none());
    });
}

#[test]
fn what_is_revoked_ends_at_once_for_tokens_too() {
    run_alone(|| async {
        let door = door(&Clock::hand_moved(), None, &["team/*:pull"]);
        let secret = door.token.reveal();
        let granted = door.token("repository:team/app:pull").await.unwrap();
        let bearer = format!("Bearer {}", granted.token);
        assert_eq!(door.shows(&bearer, &PULL).await, Ok(()));
        door.revoked_ms.store(1, Ordering::SeqCst);
        assert!(door.shows(&bearer, &PULL).await.is_err());
        assert!(door.logs_in("ci", &secret, &PULL).await.is_err());
    });
}

#[test]
fn a_token_is_remembered_until_it_ends_and_taken_for_the_leeway_after_a_new_check() {
    run_alone(|| async {
        let clock = Clock::hand_moved();
        clock.advance(Duration::from_secs(1000));
        let door = door(&clock, None, &["team/*:pull"]);
        let granted = door.token("repository:team/app:pull").await.unwrap();
        let bearer = format!("Bearer {}", granted.token);
        let checks = |how| door.guard.metrics.access.tokens.of(how).value();
        // Seconds after it was made, and how often it was remembered and verified by then.
        for (seconds, is_let_in, expected) in [
            (0, true, (0, 1)),
            (299, true, (1, 1)),
            (300, true, (1, 2)),
            (359, true, (1, 3)),
            (360, false, (1, 3)),
        ] {
            let until = Duration::from_secs(1000 + seconds);
            clock.advance(until.saturating_sub(Duration::from_millis(clock.unix_ms())));
            let shown = door.shows(&bearer, &PULL).await;
            assert_eq!(shown.is_ok(), is_let_in, "{seconds}");
            let counted = (checks(TokenCheck::Remembered), checks(TokenCheck::Verified));
            assert_eq!(counted, expected, "{seconds}");
        }
    });
}
