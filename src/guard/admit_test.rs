use super::*;

#[test]
fn no_two_logins_share_the_memory_of_an_identity() {
    let key = |name, password| identity_key(&Login::new(name, password).unwrap());
    assert_eq!(key("ci", "a.b.c"), key("ci", "a.b.c"));
    assert_ne!(key("ci a", "b"), key("ci", "a b"));
    assert_ne!(key("ci", " a"), key("ci ", "a"));
    assert!(Login::new("ci\0a", "b").is_err() && Login::new("ci", "a\0b").is_err());
}
