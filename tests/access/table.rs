//! Every route and method, and every kind of credentials: what each route needs, what
//! each kind gives, and how what is not given is refused.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::{REALM, SERVICE, bearing, claims, forged, now_seconds, signed, token};
use crate::support::{MANIFEST_TYPE, Registry, Request, Response, image, location, sha256};

const CONTENT: &[u8] = b"a blob";
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// What a request needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    Credentials,
    Catalog,
    Pull,
    Push,
    Delete,
}

/// What a caller shows, and what it gives on the repository of the requests.
pub(crate) struct Caller {
    pub(crate) name: &'static str,
    /// The header `Authorization`.
    pub(crate) shows: Option<String>,
    /// How a right is refused that is not among these.
    pub(crate) refusal: Refusal,
    pub(crate) rights: &'static [Right],
}

/// How a caller is refused.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    /// By a challenge, with this `error`.
    Challenge(Option<&'static str>),
    /// For good: it is known who that is.
    Denial,
}

impl Caller {
    /// A caller that shows nothing, beyond what its connection says.
    pub(crate) const fn silent(name: &'static str, rights: &'static [Right]) -> Self {
        Self {
            name,
            shows: None,
            refusal: Refusal::Challenge(None),
            rights,
        }
    }

    /// A robot, by its secret.
    pub(crate) fn robot(name: &'static str, secret: &str, rights: &'static [Right]) -> Self {
        Self {
            name,
            shows: Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{name}:{secret}"))
            )),
            refusal: Refusal::Denial,
            rights,
        }
    }

    /// Somebody with a token of the server.
    pub(crate) fn bearer(
        name: &'static str,
        token: &str,
        error: &'static str,
        rights: &'static [Right],
    ) -> Self {
        Self {
            name,
            shows: Some(format!("Bearer {token}")),
            refusal: Refusal::Challenge(Some(error)),
            rights,
        }
    }
}

/// Everybody with a token of the server, and nobody.
pub(crate) fn bearers(repository: &str) -> Vec<Caller> {
    use Right::{Catalog, Credentials, Delete, Pull, Push};
    let all = format!("repository:{repository}:*");
    let expired = json!(now_seconds() - 3600);
    let with = |member: &str, value: Value| {
        let mut claims = claims(&all);
        claims[member] = value;
        claims
    };
    let bad = |name, token: String| Caller::bearer(name, &token, "invalid_token", &[]);
    let good = |name, scopes: &str, rights| {
        Caller::bearer(name, &token(scopes), "insufficient_scope", rights)
    };
    let scope = |words: &str| format!("repository:{repository}:{words}");
    vec![
        Caller::silent("nobody", &[]),
        bad("malformed", "a.b.c".to_owned()),
        bad("expired", signed(&with("exp", expired))),
        bad("of another issuer", signed(&with("iss", json!("mallory")))),
        bad("for another registry", signed(&with("aud", json!("other")))),
        bad("forged", forged(&claims(&all))),
        good("for nothing", "", &[Credentials]),
        good(
            "for another repository",
            "repository:other/app:*",
            &[Credentials],
        ),
        good(
            "for a longer name",
            &format!("repository:{repository}/x:*"),
            &[Credentials],
        ),
        good("pull", &scope("pull"), &[Credentials, Pull]),
        good("push", &scope("push"), &[Credentials, Push]),
        good("tag-create", &scope("tag-create"), &[Credentials, Push]),
        good(
            "pull and push",
            &scope("pull,push"),
            &[Credentials, Pull, Push],
        ),
        good("delete", &scope("delete"), &[Credentials, Delete]),
        good("catalog for nothing", "registry:catalog:", &[Credentials]),
        good("catalog for pull", "registry:catalog:pull", &[Credentials]),
        good("catalog", "registry:catalog:*", &[Credentials, Catalog]),
        good("admin", &all, &[Credentials, Pull, Push, Delete]),
    ]
}

/// Requests with the right that each needs, and what is answered with it. The order
/// lets each find what it asks for.
fn requests(repository: &str, session: &str, manifest: &str) -> Vec<(Request, Right, Vec<u16>)> {
    use Right::{Catalog, Credentials, Delete, Pull, Push};
    let blob = sha256(CONTENT);
    let at = |rest: &str| format!("/v2/{repository}/{rest}");
    let get = |target: String| Request::new("GET", target);
    let head = |target: String| Request::new("HEAD", target);
    let put = Request::new("PUT", at("manifests/new")).header("Content-Type", "text/plain");
    let mut rows = vec![
        (get("/v2/".to_owned()), Credentials, vec![200]),
        (head("/v2/".to_owned()), Credentials, vec![200]),
        (get("/v2/_catalog".to_owned()), Catalog, vec![200]),
        (head("/v2/_catalog".to_owned()), Catalog, vec![200]),
    ];
    for target in [
        at("tags/list"),
        at(&format!("blobs/{blob}")),
        at("manifests/latest"),
        at(&format!("manifests/{manifest}")),
        at(&format!("referrers/{manifest}")),
    ] {
        rows.push((get(target.clone()), Pull, vec![200]));
        rows.push((head(target), Pull, vec![200]));
    }
    rows.push((get(at(&format!("blobs/{ABSENT}"))), Pull, vec![404]));
    rows.push((get(at("manifests/absent")), Pull, vec![404]));
    rows.extend([
        (Request::new("POST", at("blobs/uploads/")), Push, vec![202]),
        (
            Request::new("POST", at(&format!("blobs/uploads/?digest={blob}"))).body(CONTENT),
            Push,
            vec![201],
        ),
        (get(session.to_owned()), Push, vec![204]),
        (head(session.to_owned()), Push, vec![204]),
        (Request::new("PATCH", session).body(""), Push, vec![202]),
        (Request::new("PUT", session).body(""), Push, vec![400]),
        (
            Request::new("DELETE", at("blobs/uploads/absent")),
            Push,
            vec![404],
        ),
        (put.body("{}"), Push, vec![400]),
        (
            Request::new("DELETE", at("manifests/absent")),
            Delete,
            vec![404],
        ),
        (
            Request::new("DELETE", at(&format!("blobs/{ABSENT}"))),
            Delete,
            vec![404],
        ),
    ]);
    rows
}

fn scope(right: Right, repository: &str) -> Option<String> {
    let words = match right {
        Right::Credentials => return None,
        Right::Catalog => return Some("registry:catalog:*".to_owned()),
        Right::Pull => "pull",
        Right::Push => "pull,push",
        Right::Delete => "delete",
    };
    Some(format!("repository:{repository}:{words}"))
}

/// Holds an answer against the one that refuses a right.
#[track_caller]
pub(crate) fn check_refusal(
    response: &Response,
    right: Right,
    repository: &str,
    refusal: Refusal,
    about: &str,
) {
    let error = match refusal {
        Refusal::Challenge(error) => error,
        Refusal::Denial => {
            assert_eq!(response.status, 403, "{about}");
            assert!(response.header("WWW-Authenticate").is_none(), "{about}");
            let is_said = response.body.is_empty() || response.code() == "DENIED";
            return assert!(is_said, "{about}");
        }
    };
    assert_eq!(response.status, 401, "{about}");
    let part = |name: &str, value: Option<&str>| {
        value.map_or_else(String::new, |value| format!(",{name}=\"{value}\""))
    };
    let expected = format!(
        "Bearer realm=\"{REALM}\",service=\"{SERVICE}\"{}{}",
        part("scope", scope(right, repository).as_deref()),
        part("error", error)
    );
    assert_eq!(response.only("WWW-Authenticate"), expected, "{about}");
    if !response.body.is_empty() {
        let code = if error == Some("insufficient_scope") {
            "DENIED"
        } else {
            "UNAUTHORIZED"
        };
        assert_eq!(response.code(), code, "{about}");
    }
}

/// Pushes an image with a blob, and opens a session; gives session and manifest.
pub(crate) fn prepare(address: SocketAddr, repository: &str) -> (String, String) {
    let mut registry = Registry::new(address);
    let token = token(&format!("repository:{repository}:pull,push"));
    let mut send = |request| registry.send(&bearing(request, &token));
    for content in [CONTENT, b"{}"] {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(content));
        send(Request::new("POST", target).body(content)).expect(201);
    }
    let manifest = image((&sha256(b"{}"), 2), &[(&sha256(CONTENT), CONTENT.len())]).to_string();
    let target = format!("/v2/{repository}/manifests/latest");
    let put = Request::new("PUT", target).header("Content-Type", MANIFEST_TYPE);
    send(put.body(manifest.as_str())).expect(201);
    let target = format!("/v2/{repository}/blobs/uploads/");
    let session = location(&send(Request::new("POST", target)).expect(202));
    (session, sha256(manifest.as_bytes()))
}

/// The request line, for messages.
fn line(request: &Request) -> String {
    let head = String::from_utf8(request.head_bytes()).unwrap();
    head.lines().next().unwrap_or_default().to_owned()
}

/// Sends every request as every caller; how many that were.
pub(crate) fn walk(
    address: SocketAddr,
    repository: &str,
    (session, manifest): (&str, &str),
    callers: &[Caller],
) -> usize {
    let mut registry = Registry::new(address);
    let mut count = 0;
    for (request, right, statuses) in requests(repository, session, manifest) {
        for caller in callers {
            let request = match &caller.shows {
                Some(header) => request.clone().header("Authorization", header.clone()),
                None => request.clone(),
            };
            let about = format!("{address} {}: {}", line(&request), caller.name);
            let response = registry.send(&request);
            if caller.rights.contains(&right) {
                assert!(
                    statuses.contains(&response.status),
                    "{about}: {}",
                    response.status
                );
            } else {
                check_refusal(&response, right, repository, caller.refusal, &about);
            }
            count += 1;
        }
    }
    count
}
