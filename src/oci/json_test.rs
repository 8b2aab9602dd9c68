//! Tests of the strict JSON walker, with `serde_json` as the second opinion.

use super::*;
use proptest::prelude::*;

fn check(body: &[u8]) -> Result<(), JsonFault> {
    let walk = |body| {
        let mut json = Json::new(body)?;
        json.skip()?;
        json.end()
    };
    walk(body).map_err(|error: JsonError| error.fault)
}

fn text_of(body: &str) -> Result<String, JsonFault> {
    let mut json = Json::new(body.as_bytes()).unwrap();
    let text = json.text("a text").map_err(|error| error.fault)?;
    Ok(text.into_owned())
}

#[test]
fn duplicates_are_found_at_every_level_and_behind_escapes() {
    for body in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"[[{"x":{"b":[],"c":0,"b":{}}}]]"#,
    ] {
        assert_eq!(check(body.as_bytes()), Err(JsonFault::Duplicate), "{body}");
    }
    assert_eq!(check(br#"{"a":{"a":1},"A":[{"a":1},{"a":1}]}"#), Ok(()));
}

#[test]
fn nesting_ends_at_thirty_two() {
    let nest = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    assert_eq!(check(nest(32).as_bytes()), Ok(()));
    assert_eq!(check(nest(33).as_bytes()), Err(JsonFault::Depth));
    let mixed = format!("{}1{}", "{\"a\":[".repeat(17), "]}".repeat(17));
    assert_eq!(check(mixed.as_bytes()), Err(JsonFault::Depth));
    assert_eq!(
        check("[".repeat(4_000_000).as_bytes()),
        Err(JsonFault::Depth)
    );
}

#[test]
fn what_is_not_exactly_one_json_value_is_refused() {
    assert_eq!(check(b"{} {}"), Err(JsonFault::Trailing));
    assert_eq!(check(b"{}\0"), Err(JsonFault::Trailing));
    assert_eq!(check(b"01"), Err(JsonFault::Trailing));
    assert_eq!(check(b"\"\xff\""), Err(JsonFault::Encoding));
    assert_eq!(check(b"\xef\xbb\xbf{}"), Err(JsonFault::Syntax));
    for body in [
        "", " ", "[1,]", "{\"a\"}", "nul", "+1", ".5", "1.", "1e", "-", "'a'", "\"\n\"",
    ] {
        assert_eq!(check(body.as_bytes()), Err(JsonFault::Syntax), "{body:?}");
    }
    for body in ["{", "{,}", "{\"a\":1,}"] {
        let expected = JsonFault::Type {
            expected: "a member name",
        };
        assert_eq!(check(body.as_bytes()), Err(expected), "{body:?}");
    }
}

#[test]
fn escapes_decode_and_lone_surrogates_do_not() {
    assert_eq!(
        text_of(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#).unwrap(),
        "a\"\\/\u{8}\u{c}\n\r\té😀z"
    );
    for bad in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\u0041""#,
        r#""\u+123""#,
        r#""\x""#,
        r#""a\"#,
    ] {
        assert_eq!(text_of(bad), Err(JsonFault::Syntax), "{bad}");
    }
}

#[test]
fn a_size_is_digits_within_its_bound() {
    let size = |body: &str| {
        Json::new(body.as_bytes())
            .unwrap()
            .size(1000)
            .map_err(|error| error.fault)
    };
    assert_eq!(size("1000"), Ok(1000));
    assert_eq!(size(" 0"), Ok(0));
    for bad in ["1001", "-1", "-0", "1.0", "1e2", "18446744073709551616"] {
        assert_eq!(size(bad), Err(JsonFault::Size), "{bad}");
    }
    assert_eq!(
        size("\"1\""),
        Err(JsonFault::Type {
            expected: "a number"
        })
    );
    assert_eq!(
        size("null"),
        Err(JsonFault::Type {
            expected: "a number"
        })
    );
}

/// JSON values of every shape, as text.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| serde_json::json!(number).to_string()),
        ".*".prop_map(|text| serde_json::json!(text).to_string()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            prop::collection::btree_map("[a-z\"\\\\é]{0,3}", inner, 0..4).prop_map(|members| {
                let member = |(name, value): (String, String)| {
                    format!("{}: {value}", serde_json::json!(name))
                };
                format!(
                    "{{{}}}",
                    members
                        .into_iter()
                        .map(member)
                        .collect::<Vec<_>>()
                        .join(",")
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_json_value_is_walked(body in json_text()) {
        prop_assert_eq!(check(body.as_bytes()), Ok(()));
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(
        body in json_text(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]\",:\\0-e.tu \n\x00".to_vec()),
    ) {
        let mut body = body.into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let verdict = check(&body);
        let second = serde_json::from_slice::<serde_json::Value>(&body);
        // The second opinion accepts duplicates and refuses numbers out of its range.
        let is_out_of_range = second.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        if verdict != Err(JsonFault::Duplicate) && !is_out_of_range {
            prop_assert_eq!(verdict.is_ok(), second.is_ok(), "{:?} {:?}", verdict, second);
        }
    }

    #[test]
    fn any_text_decodes_as_serde_json_decodes_it(text in ".*") {
        let body = serde_json::json!(text).to_string();
        prop_assert_eq!(text_of(&body), Ok(text));
    }

    #[test]
    fn any_bytes_are_answered(body: Vec<u8>) {
        let _ = check(&body);
    }
}
