use serde_json::Map;

use std::rc::Rc;

use super::*;
use crate::guard::issuer_keys::Generation;
use crate::guard::verify::identity_key;

#[test]
fn no_two_logins_share_the_memory_of_an_identity() {
    let key = |name, password| identity_key(&Login::new(name, password).unwrap());
    assert_eq!(key("ci", "a.b.c"), key("ci", "a.b.c"));
    assert_ne!(key("ci a", "b"), key("ci", "a b"));
    assert_ne!(key("ci", " a"), key("ci ", "a"));
    assert!(Login::new("ci\0a", "b").is_err() && Login::new("ci", "a\0b").is_err());
}

#[test]
fn what_was_proved_before_a_change_is_forgotten() {
    let options = Arc::new(Options {
        mode: Mode::None,
        service: "windlass".into(),
        rules: Vec::new(),
        rules_file: None,
    });
    let book = || Arc::new(Book::read(&options).unwrap());
    let (sender, books) = watch::channel(book());
    let generation = Generation::default();
    let shared = Shared {
        options: Arc::clone(&options),
        books,
        hasher: None,
        sources: Arc::default(),
        generation: generation.clone(),
        robots: Robots::new(|_| Ok(None)),
    };
    let guard = Guard::new(shared, "http://127.0.0.1/token", Arc::new(Metrics::new()));
    let token = Rc::new(Verified {
        subject: None,
        access: Vec::new(),
        expires_seconds: 2,
        claims: Map::new(),
    });
    let login = Login::new("bob", "sesame").unwrap();
    let keep = || {
        guard.tokens.borrow_mut().keep("t", Rc::clone(&token));
        guard.identities.borrow_mut().keep("i", Rc::clone(&token));
        guard.proved.borrow_mut().keep(&login, guard.clock.now());
    };
    let kept = || {
        [
            guard.tokens.borrow_mut().find("t", 1).is_some(),
            guard.identities.borrow_mut().find("i", 1).is_some(),
            guard.proved.borrow().contains(&login, guard.clock.now()),
        ]
    };
    guard.book();
    keep();
    guard.book();
    assert_eq!(kept(), [true; 3]);
    let new = book();
    sender.send_replace(Arc::clone(&new));
    assert!(Arc::ptr_eq(&guard.book(), &new));
    assert_eq!(kept(), [false; 3]);
    keep();
    // The last change counts also when its keeper is gone.
    sender.send_replace(book());
    drop(sender);
    guard.book();
    assert_eq!(kept(), [false; 3]);
    keep();
    guard.book();
    assert_eq!(kept(), [true; 3]);
    // Keys of issuers have nothing to do with passwords.
    generation.rise();
    guard.book();
    assert_eq!(kept(), [false, false, true]);
}
