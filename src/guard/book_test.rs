use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::auth::{Actions, SigningKey, Subject};
use crate::guard::{TokenServer, UsersOptions};

const HASH: &str = "$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1";

fn options(mode: Mode) -> Options {
    Options {
        mode,
        service: "windlass".into(),
        rules: vec![json!({ "subject": { "username": "bob" }, "actions": ["pull"] })],
        rules_file: None,
    }
}

fn file(home: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = home.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    path
}

fn users(users_file: Option<PathBuf>) -> Mode {
    Mode::Users(UsersOptions {
        realm: None,
        other: None,
        users: vec![format!("bob:{HASH}").into()],
        users_file,
        identities: Vec::new(),
        signer: SigningKey::derived(b"secret").unwrap(),
        token_life: Duration::from_secs(300),
        refresh_life: Duration::from_secs(600),
    })
}

#[test]
fn the_file_adds_rules_behind_those_of_the_configuration() {
    let home = tempfile::tempdir().unwrap();
    let text = "[[rules]]\nsubject.username = 'eve'\nactions = ['push']\ncomment = 'eve'";
    let mut options = options(Mode::None);
    options.rules_file = Some(file(&home, "rules", text));
    let book = Book::read(&options).unwrap();
    assert_eq!(book.rules().count(), 2);
    let given = book.rules().given(&Subject::user("eve", None), "a");
    assert_eq!(given, Actions::PUSH);
}

#[test]
fn what_is_wrong_in_a_file_of_rules_is_named_with_the_file() {
    let home = tempfile::tempdir().unwrap();
    let rows = [
        (
            "[[rule]]\nactions = ['pull']",
            "unknown key `rule`, did you mean `rules`?",
        ),
        (
            "[[rules]]\nactions = ['pul']",
            "rule 1, `actions`: unknown action `pul`",
        ),
        ("[[rules", "unclosed"),
        ("rules = 'all'", "`rules` is not a list of tables"),
    ];
    for (text, expected) in rows {
        let mut options = options(Mode::None);
        options.rules_file = Some(file(&home, "rules", text));
        let error = Book::read(&options).unwrap_err().to_string();
        assert!(
            error.contains("/rules: ") && error.contains(expected),
            "{error}"
        );
    }
    let mut options = options(Mode::None);
    options.rules_file = Some(home.path().join("absent"));
    let error = Book::read(&options).unwrap_err();
    assert!(matches!(error, BookError::Missing { .. }));
    options.rules_file = None;
    options.rules = vec![json!({})];
    let error = Book::read(&options).unwrap_err().to_string();
    assert_eq!(error, "`auth.rules`: rule 1: key `actions` is missing");
}

#[test]
fn users_come_from_the_configuration_and_the_file() {
    let home = tempfile::tempdir().unwrap();
    let path = file(&home, "users", &format!("# ours\neve:{HASH}\n"));
    let book = Book::read(&options(users(Some(path.clone())))).unwrap();
    assert!(book.users.hash("bob").is_some() && book.users.hash("eve").is_some());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Book::read(&options(users(Some(path)))).unwrap_err();
    assert!(matches!(error, BookError::Permissions { mode: 0o644, .. }));
    let twice = file(&home, "twice", &format!("bob:{HASH}"));
    let error = Book::read(&options(users(Some(twice)))).unwrap_err();
    assert!(matches!(error, BookError::Twice { .. }));
}

#[test]
fn keys_of_a_token_server_come_from_its_files() {
    let home = tempfile::tempdir().unwrap();
    let server = |path: PathBuf| {
        Mode::Token(TokenServer {
            realm: "https://auth.example.org/token".into(),
            issuer: "auth.example.org".into(),
            audiences: vec!["windlass".into()],
            keys: KeysFrom::Files(vec![path]),
        })
    };
    let pem = include_str!("../../tests/fixtures/auth/ec.crt");
    let book = Book::read(&options(server(file(&home, "key", pem)))).unwrap();
    let Some(Trusted::Known(issuer)) = book.issuer else {
        panic!("{:?}", book.issuer);
    };
    assert_eq!(issuer.keys.len(), 1);
    let error = Book::read(&options(server(file(&home, "bad", "nonsense")))).unwrap_err();
    assert!(error.to_string().contains("/bad: neither PEM"), "{error}");
}
