//! Every route and method, and every kind of credentials: what each route needs, what
//! each kind gives, and how what is not given is refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::{TokenMaker, bearing, forged, now_seconds, signed};
use crate::support::{
    MANIFEST_TYPE, Registry, Request, Response, image, location, sha256, wait_for,
};

const CONTENT: &[u8] = b"a blob";
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
/// A node that is asked for more passwords than it can check has some time for each.
const PATIENCE: Duration = Duration::from_secs(30);
/// Paths as the registry lists them.
const BLOB: &str = "/v2/<name>/blobs/<digest>";
const MANIFEST: &str = "/v2/<name>/manifests/<digest>";
const TAGGED: &str = "/v2/<name>/manifests/<tag>";
const UPLOADS: &str = "/v2/<name>/blobs/uploads/";
const UPLOAD: &str = "/v2/<name>/blobs/uploads/<id>";

/// What a request needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    /// None: it is where tokens are made.
    Nothing,
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

/// Everybody with a token, and nobody.
pub(crate) fn bearers(repository: &str, maker: &TokenMaker) -> Vec<Caller> {
    use Right::{Catalog, Credentials, Delete, Pull, Push};
    let all = format!("repository:{repository}:*");
    let expired = json!(now_seconds() - 3600);
    let with = |member: &str, value: Value| {
        let mut claims = maker.claims(&all);
        claims[member] = value;
        claims
    };
    let bad = |name, token: String| Caller::bearer(name, &token, "invalid_token", &[]);
    let good = |name, scopes: &str, rights| {
        let token = signed(&maker.claims(scopes));
        Caller::bearer(name, &token, "insufficient_scope", rights)
    };
    let scope = |words: &str| format!("repository:{repository}:{words}");
    vec![
        Caller::silent("nobody", &[]),
        bad("malformed", "a.b.c".to_owned()),
        bad("expired", signed(&with("exp", expired))),
        bad("of another issuer", signed(&with("iss", json!("mallory")))),
        bad("for another registry", signed(&with("aud", json!("other")))),
        bad("forged", forged(&maker.claims(&all))),
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

/// What requests are about, and where they go.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) repository: &'static str,
    pub(crate) maker: TokenMaker,
    /// A blob of the repository, a manifest, and an upload session.
    pub(crate) blob: String,
    pub(crate) manifest: String,
    pub(crate) session: String,
}

/// One request, the right that it needs, and what is answered with it.
struct Row {
    method: &'static str,
    path: &'static str,
    right: Right,
    status: u16,
    /// What it names in place of what the place has.
    named: Option<(&'static str, &'static str)>,
    query: String,
    change: fn(Request) -> Request,
}

impl Row {
    const fn new(method: &'static str, path: &'static str, right: Right, status: u16) -> Self {
        Self {
            method,
            path,
            right,
            status,
            named: None,
            query: String::new(),
            change: |request| request,
        }
    }

    fn naming(mut self, part: &'static str, name: &'static str) -> Self {
        self.named = Some((part, name));
        self
    }

    fn with(mut self, change: fn(Request) -> Request) -> Self {
        self.change = change;
        self
    }

    /// Whether it brings the bytes of the place's blob.
    fn is_of_blob(&self) -> bool {
        self.path == BLOB && self.status == 200
    }

    fn request(&self, place: &Place) -> Request {
        let digest = if self.path == BLOB {
            &place.blob
        } else {
            &place.manifest
        };
        let own = [
            ("<name>", place.repository),
            ("<digest>", digest),
            ("<tag>", "latest"),
            ("<id>", &place.session),
        ];
        let parts = self.named.into_iter().chain(own);
        let path = parts.fold(self.path.to_owned(), |path, (part, name)| {
            path.replace(part, name)
        });
        (self.change)(Request::new(self.method, path + &self.query))
    }
}

/// The table. The order lets each request find what it asks for.
fn rows() -> Vec<Row> {
    use Right::{Catalog, Credentials, Delete, Nothing, Pull, Push};
    let row = Row::new;
    let mut rows = Vec::new();
    for method in ["GET", "HEAD"] {
        rows.extend([
            row(method, "/v2/", Credentials, 200),
            row(method, "/v2/_catalog", Catalog, 200),
            row(method, "/v2/<name>/tags/list", Pull, 200),
            row(method, BLOB, Pull, 200),
            row(method, BLOB, Pull, 404).naming("<digest>", ABSENT),
            row(method, TAGGED, Pull, 200),
            row(method, TAGGED, Pull, 404).naming("<tag>", "absent"),
            row(method, MANIFEST, Pull, 200),
            row(method, MANIFEST, Pull, 404).naming("<digest>", ABSENT),
            row(method, "/v2/<name>/referrers/<digest>", Pull, 200),
            row(method, UPLOAD, Push, 204),
            row(method, UPLOAD, Push, 404).naming("<id>", "absent"),
        ]);
    }
    let whole = Row {
        query: format!("?digest={}", sha256(CONTENT)),
        ..row("POST", UPLOADS, Push, 201)
    };
    let typed = |request: Request| request.header("Content-Type", "text/plain").body("{}");
    rows.extend([
        row("GET", "/token", Nothing, 200),
        row("POST", "/token", Nothing, 400)
            .with(|request| request.body("grant_type=refresh_token&refresh_token=x")),
        row("POST", UPLOADS, Push, 202),
        whole.with(|request| request.body(CONTENT)),
        row("PATCH", UPLOAD, Push, 202).with(|request| request.body("")),
        row("PUT", UPLOAD, Push, 400).with(|request| request.body("")),
        row("DELETE", UPLOAD, Push, 404).naming("<id>", "absent"),
        row("PUT", TAGGED, Push, 400)
            .naming("<tag>", "new")
            .with(typed),
        row("PUT", MANIFEST, Push, 400).with(typed),
        row("DELETE", TAGGED, Delete, 404).naming("<tag>", "absent"),
        row("DELETE", MANIFEST, Delete, 404).naming("<digest>", ABSENT),
        row("DELETE", BLOB, Delete, 404).naming("<digest>", ABSENT),
    ]);
    rows
}

/// Fails for an endpoint of the registry without a row, and for a row without one.
pub(crate) fn check_rows() {
    let own: BTreeSet<_> = rows().iter().map(|row| (row.method, row.path)).collect();
    assert_eq!(own, windlass::api::endpoints().collect());
}

fn scope(right: Right, repository: &str) -> Option<String> {
    let words = match right {
        Right::Nothing | Right::Credentials => return None,
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
    (repository, maker): (&str, &TokenMaker),
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
        "Bearer realm=\"{}\",service=\"{}\"{}{}",
        maker.realm,
        maker.service,
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

/// Pushes an image with a blob, and opens a session, as somebody who may.
pub(crate) fn prepare(
    address: SocketAddr,
    (repository, maker): (&'static str, &TokenMaker),
) -> Place {
    let mut registry = Registry::new(address);
    let token = signed(&maker.claims(&format!("repository:{repository}:pull,push")));
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
    Place {
        address,
        repository,
        maker: maker.clone(),
        blob: sha256(CONTENT),
        manifest: sha256(manifest.as_bytes()),
        session: session.rsplit('/').next().unwrap().to_owned(),
    }
}

/// The request line, for messages.
fn line(request: &Request) -> String {
    let head = String::from_utf8(request.head_bytes()).unwrap();
    head.lines().next().unwrap_or_default().to_owned()
}

/// Sends a request of the table as a caller, and holds the answer against the table.
fn ask(registry: &mut Registry, place: &Place, row: &Row, caller: &Caller) {
    let mut request = row.request(place);
    if let Some(shown) = &caller.shows {
        request = request.header("Authorization", shown.as_str());
    }
    let about = format!("{} {}: {}", place.address, line(&request), caller.name);
    let response = answer(registry, row, &request);
    if row.right == Right::Nothing {
        let expected = caller.status_of_token(row, place);
        return assert_eq!(response.status, expected, "{about}");
    }
    if caller.rights.contains(&row.right) {
        return assert_eq!(response.status, row.status, "{about}");
    }
    let at = (place.repository, &place.maker);
    check_refusal(&response, row.right, at, caller.refusal, &about);
}

/// The answer to a request, when the registry has time for the password in it.
fn answer(registry: &mut Registry, row: &Row, request: &Request) -> Response {
    let mut last = None;
    let is_decided = wait_for(PATIENCE, || {
        let response = match row.right {
            // Its errors come in the words of OAuth.
            Right::Nothing => registry.client.send(request),
            _ => registry.send(request),
        };
        last.insert(response).status != 429
    });
    assert!(is_decided, "{}", line(request));
    last.unwrap()
}

impl Caller {
    /// What the token endpoint answers: it looks at logins only, and at nothing where
    /// tokens are made elsewhere.
    fn status_of_token(&self, row: &Row, place: &Place) -> u16 {
        let shown = self.shows.as_deref().unwrap_or_default();
        match (row.method, shown.split(' ').next()) {
            ("GET", Some("Bearer")) => 401,
            _ if !place.maker.is_here => 404,
            ("GET", Some("Basic")) if self.rights.is_empty() => 401,
            _ => row.status,
        }
    }
}

/// Sends every request as every caller; how many that were.
pub(crate) fn walk(place: &Place, callers: &[Caller]) -> usize {
    let mut registry = Registry::new(place.address);
    for row in rows() {
        for caller in callers {
            ask(&mut registry, place, &row, caller);
        }
    }
    rows().len() * callers.len()
}

/// As [`walk`], on a node that lacks blobs: for each caller that may have it `lacking`
/// gives another one.
pub(crate) fn walk_lacking(
    place: &Place,
    callers: &[Caller],
    mut lacking: impl FnMut() -> String,
) -> usize {
    let mut registry = Registry::new(place.address);
    for row in rows() {
        for caller in callers {
            let mut place = place.clone();
            if row.is_of_blob() && caller.rights.contains(&row.right) {
                place.blob = lacking();
            }
            ask(&mut registry, &place, &row, caller);
        }
    }
    rows().len() * callers.len()
}

/// As [`walk`], all requests of a caller at once: each waits for itself.
pub(crate) fn walk_at_once(place: &Place, caller: &Caller) {
    std::thread::scope(|scope| {
        for row in rows() {
            scope.spawn(move || ask(&mut Registry::new(place.address), place, &row, caller));
        }
    });
}

/// Every path with the methods that it does not have: nobody is asked who they are, and
/// nobody is answered otherwise.
pub(crate) fn walk_other_methods(place: &Place, callers: &[Caller]) {
    let served: BTreeSet<_> = windlass::api::endpoints().collect();
    let paths: BTreeSet<_> = served.iter().map(|(_, path)| *path).collect();
    let mut registry = Registry::new(place.address);
    for path in paths {
        let methods = windlass::http::Method::ALL.map(windlass::http::Method::as_str);
        let of_path = |method: &&str| served.contains(&(*method, path));
        let (own, others): (BTreeSet<_>, BTreeSet<_>) = methods.into_iter().partition(of_path);
        for (method, caller) in others
            .iter()
            .flat_map(|one| callers.iter().map(move |caller| (*one, caller)))
        {
            let row = Row::new(method, path, Right::Nothing, 405);
            let mut request = row.request(place);
            if let Some(shown) = &caller.shows {
                request = request.header("Authorization", shown.as_str());
            }
            let response = registry.client.send(&request).expect(405);
            let allowed: BTreeSet<_> = response.only("Allow").split(", ").collect();
            assert_eq!(allowed, own, "{}", response.about);
        }
    }
}
