use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;

/// A subject as a table row writes it.
fn subject(value: &Value) -> Subject {
    let text = |key: &str| value[key].as_str().map(Into::into);
    let network = value["network"]
        .as_str()
        .map(|text| text.parse::<IpAddr>().unwrap());
    Subject {
        username: text("username"),
        network,
        subject: text("subject"),
        claims: value.get("claims").cloned(),
        robot: text("robot"),
        is_anonymous: value["anonymous"] == json!(true),
    }
}

/// Checks rows of subject, repository and what is given there.
fn check(rules: &Value, rows: &[(Value, &str, &str)]) {
    let rules = Rules::read(rules.as_array().unwrap()).unwrap();
    for (who, repository, expected) in rows {
        let who = subject(who);
        assert_eq!(
            rules.given(&who, repository).to_string(),
            *expected,
            "{who:?} {repository}"
        );
        for needed in [Actions::PULL, Actions::PUSH, Actions::DELETE] {
            let given = rules.given(&who, repository).contains(needed);
            let verdict = rules.decide(&who, repository, needed);
            assert_eq!(
                matches!(verdict, Verdict::Given(_)),
                given,
                "{who:?} {needed}"
            );
        }
    }
}

/// Checks rows of a rule and how the error about it begins.
fn check_refused(rows: &[(Value, &str)]) {
    for (rule, expected) in rows {
        let error = Rules::read(std::slice::from_ref(rule)).expect_err(expected);
        let error = error.to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

const ALL: &str = "pull,push,delete,admin";

#[test]
fn one_user_and_one_repository() {
    let rules = json!([{ "subject": { "username": "bob" },
        "resource": { "repository": "bob/webapp" }, "actions": ["pull", "push"] }]);
    check(
        &rules,
        &[
            (json!({ "username": "bob" }), "bob/webapp", "pull,push"),
            (json!({ "username": "bob" }), "bob/other", ""),
            (json!({ "username": "alice" }), "bob/webapp", ""),
            (json!({ "anonymous": true }), "bob/webapp", ""),
        ],
    );
}

#[test]
fn a_shared_prefix_is_for_every_authenticated_user() {
    let rules = json!([{ "resource": { "repository": { "regex": "^free4all/.*$" } },
        "actions": ["pull", "push"] }]);
    check(
        &rules,
        &[
            (json!({ "username": "bob" }), "free4all/x", "pull,push"),
            (json!({ "username": "bob" }), "notfree4all/x", ""),
            (json!({ "anonymous": true }), "free4all/x", ""),
        ],
    );
}

#[test]
fn an_administrator_may_everything() {
    let rules = json!([{ "subject": { "username": "admin" }, "actions": ["admin"] }]);
    check(
        &rules,
        &[
            (json!({ "username": "admin" }), "any/thing", ALL),
            (json!({ "username": "bob" }), "any/thing", ""),
        ],
    );
}

#[test]
fn networks_match_addresses() {
    let rules = json!([{ "subject": { "network": "192.168.0.0/24" }, "actions": ["pull"] }]);
    check(
        &rules,
        &[
            (
                json!({ "username": "a", "network": "192.168.0.7" }),
                "x",
                "pull",
            ),
            (
                json!({ "username": "a", "network": "::ffff:192.168.0.7" }),
                "x",
                "pull",
            ),
            (
                json!({ "username": "a", "network": "192.168.1.7" }),
                "x",
                "",
            ),
            (json!({ "username": "a" }), "x", ""),
        ],
    );
    // Where nobody knows the address it may be the one that is left out.
    let all_but_one = json!([{ "subject": { "network": { "not": "192.168.0.7" } },
        "actions": ["pull"] }]);
    check(
        &all_but_one,
        &[
            (
                json!({ "username": "a", "network": "192.168.0.8" }),
                "x",
                "pull",
            ),
            (json!({ "username": "a" }), "x", ""),
        ],
    );
    let private = json!([{ "subject": { "network": { "and": [
        { "or": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] },
        { "not": "192.168.1.1" } ] } }, "actions": ["pull"] }]);
    check(
        &private,
        &[
            (
                json!({ "username": "a", "network": "10.1.2.3" }),
                "x",
                "pull",
            ),
            (
                json!({ "username": "a", "network": "192.168.1.1" }),
                "x",
                "",
            ),
            (json!({ "username": "a", "network": "8.8.8.8" }), "x", ""),
        ],
    );
    let six = json!([{ "subject": { "network": "2001:db8::/32" }, "actions": ["pull"] }]);
    check(
        &six,
        &[
            (
                json!({ "username": "a", "network": "2001:db8::1" }),
                "x",
                "pull",
            ),
            (
                json!({ "username": "a", "network": "2001:db9::1" }),
                "x",
                "",
            ),
        ],
    );
}

#[test]
fn pipelines_are_known_by_their_claims() {
    let production = json!([{ "subject": { "claims": [
        { "pointer": "/environment", "match": "production" },
        { "pointer": "/ref_type", "match": "branch" },
        { "pointer": "/ref", "match": "main" } ] },
        "resource": { "repository": "production/mywebapp" }, "actions": ["pull", "push"] }]);
    let job = |claims: Value| json!({ "subject": "job", "claims": claims });
    let good = json!({ "environment": "production", "ref_type": "branch", "ref": "main" });
    let other = json!({ "environment": "production", "ref_type": "branch", "ref": "feature-1" });
    check(
        &production,
        &[
            (job(good.clone()), "production/mywebapp", "pull,push"),
            (job(good.clone()), "production/other", ""),
            (job(other), "production/mywebapp", ""),
            (
                job(json!({ "environment": "production", "ref": "main" })),
                "production/mywebapp",
                "",
            ),
            (json!({ "username": "bob" }), "production/mywebapp", ""),
        ],
    );
    let tests = json!([{ "subject": { "claims": [
        { "pointer": "/environment", "match": "dev" },
        { "pointer": "/ref", "match": { "regex": "^testing-.*$" } } ] },
        "resource": { "repository": "staging/mywebapp" }, "actions": ["push"] }]);
    check(
        &tests,
        &[
            (
                job(json!({ "environment": "dev", "ref": "testing-7" })),
                "staging/mywebapp",
                "push",
            ),
            (
                job(json!({ "environment": "dev", "ref": "main" })),
                "staging/mywebapp",
                "",
            ),
        ],
    );
    let either = json!([{ "subject": { "claims": { "or": [
        { "and": [{ "pointer": "/environment", "match": "production" },
                  { "pointer": "/ref_type", "match": "branch" },
                  { "pointer": "/ref", "match": "main" }] },
        { "and": [{ "pointer": "/environment", "match": "dev" },
                  { "pointer": "/ref_type", "match": "branch" },
                  { "pointer": "/ref", "match": { "regex": "^testing-.*$" } }] } ] } },
        "actions": ["pull"] }]);
    let dev = json!({ "environment": "dev", "ref_type": "branch", "ref": "testing-7" });
    let crossed = json!({ "environment": "production", "ref_type": "branch", "ref": "testing-7" });
    check(
        &either,
        &[
            (job(good), "x", "pull"),
            (job(dev), "x", "pull"),
            (job(crossed), "x", ""),
        ],
    );
}

#[test]
fn lists_of_claims_are_searched_by_a_path() {
    let rules = |quantifier: &str| {
        json!([{ "subject": { "claims":
        { "path": "$.groups_direct[*]", quantifier: { "regex": "^admin-" } } },
        "actions": ["pull"] }])
    };
    let groups = |list: Value| json!({ "subject": "a", "claims": { "groups_direct": list } });
    check(
        &rules("any"),
        &[
            (groups(json!(["x", "admin-a"])), "r", "pull"),
            (groups(json!(["x"])), "r", ""),
            (groups(json!([])), "r", ""),
            (json!({ "subject": "a", "claims": {} }), "r", ""),
            (json!({ "username": "a" }), "r", ""),
        ],
    );
    check(
        &rules("all"),
        &[
            (groups(json!(["admin-b", "admin-a"])), "r", "pull"),
            (groups(json!(["x", "admin-a"])), "r", ""),
            (groups(json!([])), "r", ""),
        ],
    );
    let absent = json!([{ "subject": { "claims":
        { "path": "$.groups_direct[*]", "all": { "exists": false } } }, "actions": ["pull"] }]);
    check(
        &absent,
        &[
            (groups(json!([])), "r", "pull"),
            (groups(json!(["x"])), "r", ""),
        ],
    );
}

#[test]
fn a_pod_is_known_by_its_nested_claims() {
    let rules = json!([{ "subject": { "claims": [
        { "pointer": "/kubernetes.io/namespace", "match": "my-namespace" },
        { "pointer": "/kubernetes.io/pod/name", "match": { "regex": "^my-pod-.*$" } } ] },
        "actions": ["pull"] }]);
    let pod = |name: &str| {
        json!({ "subject": "s", "claims": { "kubernetes.io": {
        "namespace": "my-namespace", "pod": { "name": name } } } })
    };
    check(
        &rules,
        &[(pod("my-pod-123"), "x", "pull"), (pod("other-1"), "x", "")],
    );
}

#[test]
fn what_is_missing_matches_only_negations() {
    let rules = json!([{ "subject": { "claims":
        { "not": { "pointer": "/environment", "match": "staging" } } }, "actions": ["pull"] }]);
    let inner = json!([{ "subject": { "claims":
        { "pointer": "/environment", "match": { "not": "staging" } } }, "actions": ["pull"] }]);
    let job = |claims: Value| json!({ "subject": "s", "claims": claims });
    for rules in [rules, inner] {
        check(
            &rules,
            &[
                (job(json!({ "environment": "production" })), "x", "pull"),
                (job(json!({})), "x", "pull"),
                (job(json!({ "environment": "staging" })), "x", ""),
            ],
        );
    }
    let absent = json!([{ "subject": { "username": { "exists": false }, "anonymous": true },
        "actions": ["pull"] }]);
    check(
        &absent,
        &[
            (json!({ "anonymous": true }), "x", "pull"),
            (json!({ "username": "bob" }), "x", ""),
        ],
    );
}

#[test]
fn numbers_are_no_texts() {
    let level = |matcher: Value| {
        json!([{ "subject": { "claims":
        { "pointer": "/level", "match": matcher } }, "actions": ["pull"] }])
    };
    let job = |level: Value| json!({ "subject": "s", "claims": { "level": level } });
    check(
        &level(json!({ "gt": 3 })),
        &[
            (job(json!(4)), "x", "pull"),
            (job(json!(3.5)), "x", "pull"),
            (job(json!(3)), "x", ""),
            (job(json!("4")), "x", ""),
            (job(json!(null)), "x", ""),
            (job(json!([4])), "x", ""),
        ],
    );
    check(
        &level(json!({ "lt": -1 })),
        &[(job(json!(-2)), "x", "pull"), (job(json!(0)), "x", "")],
    );
    check(
        &level(json!(3)),
        &[
            (job(json!(3)), "x", "pull"),
            (job(json!(3.0)), "x", "pull"),
            (job(json!("3")), "x", ""),
        ],
    );
    check(
        &level(json!("4")),
        &[(job(json!("4")), "x", "pull"), (job(json!(4)), "x", "")],
    );
    let large = json!([{ "subject": { "claims": { "pointer": "/level",
        "match": u64::MAX } }, "actions": ["pull"] }]);
    check(
        &large,
        &[
            (job(json!(u64::MAX)), "x", "pull"),
            (job(json!(u64::MAX - 1)), "x", ""),
        ],
    );
    check(
        &level(json!(true)),
        &[
            (job(json!(true)), "x", "pull"),
            (job(json!("true")), "x", ""),
        ],
    );
}

#[test]
fn texts_match_by_their_ends_and_by_patterns() {
    let repository =
        |matcher: Value| json!([{ "resource": { "repository": matcher }, "actions": ["pull"] }]);
    let bob = || json!({ "username": "bob" });
    check(
        &repository(json!({ "starts": "team/" })),
        &[(bob(), "team/a", "pull"), (bob(), "teams", "")],
    );
    check(
        &repository(json!({ "ends": "-dev" })),
        &[(bob(), "a-dev", "pull"), (bob(), "a-dev2", "")],
    );
    check(
        &repository(json!({ "glob": "team/*" })),
        &[
            (bob(), "team/a", "pull"),
            (bob(), "team/a/b", ""),
            (bob(), "x/team/a", ""),
        ],
    );
    check(
        &repository(json!({ "glob": "team/**" })),
        &[(bob(), "team/a/b", "pull")],
    );
    check(
        &repository(json!({ "regex": "mid" })),
        &[(bob(), "a-mid-b", "pull")],
    );
}

#[test]
fn rules_add_up_and_the_one_that_decides_is_named() {
    let rules = json!([
        { "subject": { "anonymous": true }, "resource": { "repository": { "starts": "public/" } },
          "actions": ["pull"], "comment": "everybody pulls" },
        { "subject": { "username": "bob" }, "actions": ["tag-create"], "comment": "bob adds" },
        { "subject": { "username": "bob" }, "actions": ["delete"] },
    ]);
    check(
        &rules,
        &[
            (json!({ "anonymous": true }), "public/a", "pull"),
            (json!({ "anonymous": true }), "a", ""),
            (
                json!({ "username": "bob" }),
                "public/a",
                "pull,tag-create,delete",
            ),
        ],
    );
    let rules = Rules::read(rules.as_array().unwrap()).unwrap();
    let bob = Subject::user("bob", None);
    let needed = Actions::PULL | Actions::from(crate::auth::Action::Push);
    let expected = RuleName {
        number: 2,
        comment: Some("bob adds"),
    };
    assert_eq!(
        rules.decide(&bob, "public/a", needed),
        Verdict::Given(expected)
    );
    assert_eq!(rules.decide(&bob, "private", needed), Verdict::Withheld);
    let reasons: Vec<_> = rules
        .explain(&Subject::anonymous(None), "private")
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(
        reasons,
        [Reason::Repository, Reason::Anonymous, Reason::Anonymous]
    );
    let nobody = Rules::default();
    assert_eq!(nobody.decide(&bob, "a", Actions::PULL), Verdict::Withheld);
}

#[test]
fn what_is_misspelt_is_refused_with_the_nearest_word() {
    check_refused(&[
        (
            json!({ "subject": { "netork": "10.0.0.0/8" }, "actions": ["pull"] }),
            "rule 1, `subject`: unknown key `netork`, did you mean `network`?",
        ),
        (
            json!({ "action": ["pull"] }),
            "rule 1: unknown key `action`, did you mean `actions`?",
        ),
        (
            json!({ "resource": { "repo": "a" }, "actions": ["pull"] }),
            "rule 1, `resource`: unknown key `repo`",
        ),
        (
            json!({ "actions": ["pul"] }),
            "rule 1, `actions`: unknown action `pul`, did you mean `pull`?",
        ),
        (
            json!({ "actions": ["*"] }),
            "rule 1, `actions`: unknown action `*`",
        ),
        (json!({}), "rule 1: key `actions` is missing"),
        (
            json!({ "actions": [] }),
            "rule 1, `actions`: expected a list of actions",
        ),
        (
            json!({ "actions": "pull" }),
            "rule 1, `actions`: expected a list of actions",
        ),
        (
            json!({ "subject": { "username": { "regx": "a" } }, "actions": ["pull"] }),
            "rule 1, `subject.username`: unknown key `regx`, did you mean `regex`?",
        ),
    ]);
}

#[test]
fn what_cannot_be_read_is_refused_at_its_place() {
    check_refused(&[
        (
            json!({ "subject": { "username": { "regex": "(" } }, "actions": ["pull"] }),
            "rule 1, `subject.username.regex`: regex parse error",
        ),
        (
            json!({ "subject": { "username": { "glob": "[" } }, "actions": ["pull"] }),
            "rule 1, `subject.username.glob`: error parsing glob",
        ),
        (
            json!({ "subject": { "username": { "and": [] } }, "actions": ["pull"] }),
            "rule 1, `subject.username.and`: expected a list",
        ),
        (
            json!({ "subject": { "username": { "and": ["a", { "gt": "3" }] } }, "actions": ["pull"] }),
            "rule 1, `subject.username.and.2.gt`: expected a number",
        ),
        (
            json!({ "subject": { "username": { "gt": 1, "lt": 2 } }, "actions": ["pull"] }),
            "rule 1, `subject.username`: expected exactly one key",
        ),
        (
            json!({ "subject": { "username": ["a"] }, "actions": ["pull"] }),
            "rule 1, `subject.username`: expected a text",
        ),
        (
            json!({ "subject": { "anonymous": "yes" }, "actions": ["pull"] }),
            "rule 1, `subject.anonymous`: expected true or false",
        ),
        (
            json!({ "subject": { "claims": { "pointer": "ref", "match": "a" } }, "actions": ["pull"] }),
            "rule 1, `subject.claims.pointer`: expected a JSON pointer",
        ),
        (
            json!({ "subject": { "claims": { "pointer": "/ref" } }, "actions": ["pull"] }),
            "rule 1, `subject.claims`: expected `pointer` and `match`",
        ),
        (
            json!({ "subject": { "claims": { "pointer": "/ref", "match": "a", "not": {} } }, "actions": ["pull"] }),
            "rule 1, `subject.claims`: expected `pointer` and `match`",
        ),
        (
            json!({ "subject": { "claims": { "path": "$[", "any": "a" } }, "actions": ["pull"] }),
            "rule 1, `subject.claims.path`: ",
        ),
        (
            json!({ "subject": { "claims": { "path": "$.a" } }, "actions": ["pull"] }),
            "rule 1, `subject.claims`: expected `path`, and `any` or `all`",
        ),
        (
            json!({ "subject": { "claims": {} }, "actions": ["pull"] }),
            "rule 1, `subject.claims`: expected",
        ),
        (json!(["pull"]), "rule 1: expected a table"),
    ]);
    let second = [
        json!({ "actions": ["pull"] }),
        json!({ "comment": 1, "actions": ["pull"] }),
    ];
    let error = Rules::read(&second).unwrap_err().to_string();
    assert_eq!(error, "rule 2, `comment`: expected a text");
}

#[test]
fn matchers_without_end_are_refused() {
    let mut matcher = json!("a");
    for _ in 0..40 {
        matcher = json!({ "not": matcher });
    }
    let rule = json!({ "subject": { "username": matcher }, "actions": ["pull"] });
    let error = Rules::read(&[rule]).unwrap_err();
    assert_eq!(error.fault, crate::auth::RuleFault::Depth);
}
