//! Signatures as attackers, and careless libraries, would make them.

use serde_json::{Value, json};

use super::*;

/// Made by `signatures.py` beside it, which says how.
const SIGNATURES: &str = include_str!("../../tests/fixtures/auth/signatures.json");

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The key of that name, if it is one.
fn key(set: &Value) -> Option<Key> {
    let set = json!({ "keys": [set] }).to_string();
    Key::read_all(set.as_bytes()).ok()?.pop()
}

#[test]
fn signatures_verify_in_the_one_form_that_each_has() {
    let all: Value = serde_json::from_str(SIGNATURES).unwrap();
    let (mut valid, mut wrong) = (0, Vec::new());
    let rows = all["rows"].as_array().unwrap();
    for row in rows {
        let key = key(&all["keys"][row["key"].as_str().unwrap()]);
        let message = row["message"].as_str().unwrap();
        let signature = bytes(row["signature"].as_str().unwrap());
        let verifies = key.is_some_and(|key| key.verifies(message.as_bytes(), &signature));
        valid += usize::from(verifies);
        if row["is_valid"] != verifies {
            wrong.push(format!("{}: {}", row["key"], row["about"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!((valid, rows.len()) > (8, 200), "{valid} of {}", rows.len());
}

#[test]
fn keys_under_which_anything_verifies_are_not_taken() {
    let all: Value = serde_json::from_str(SIGNATURES).unwrap();
    let keys = all["keys"].as_object().unwrap().iter();
    let taken = keys.filter(|(_, set)| key(set).is_none() != set.get("is_none").is_some());
    let names: Vec<_> = taken.map(|(name, _)| name).collect();
    assert!(names.is_empty(), "{names:?}");
}
