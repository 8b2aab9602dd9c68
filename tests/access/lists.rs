//! Lists of repositories, tags and referrers: what others have leaves no trace in them.

use super::robots::{basic, create};
use super::server::{HASH, bearing, configured};
use crate::support::{MANIFEST_TYPE, Node, Registry, Request, Response, image, sha256};

/// What the callers may pull.
const OWN: [&str; 4] = ["beta/app", "team/a", "team/c", "team/c-1"];
/// Whose names lie before, between and behind those, and within them.
const OTHERS: [&str; 10] = [
    "alpha/x",
    "beta/ap",
    "beta/app-2",
    "beta/app/x",
    "team/a-1",
    "team/a/b",
    "team/ab",
    "team/b",
    "team/c-1/x",
    "zeta/z",
];
/// More than are looked at in one step.
const MORE_OTHERS: usize = 130;
const RULES: &str = "
[[auth.rules]]
subject.username = 'owner'
actions = ['admin']
[[auth.rules]]
subject.username = 'eve'
resource.repository = { or = ['beta/app', 'team/a', 'team/c', 'team/c-1'] }
actions = ['pull']
[[auth.rules]]
subject.anonymous = true
resource.repository = { regex = '^(beta/app|team/(a|c|c-1))$' }
actions = ['pull']
";

fn as_owner(request: Request) -> Request {
    basic(request, "owner", "sesame")
}

/// Puts an image into a repository under some tags, and one that refers to it.
fn fill(registry: &mut Registry, repository: &str, tags: &[&str]) {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(b"{}"));
    let push = as_owner(Request::new("POST", target).body("{}"));
    registry.send(&push).expect(201);
    let plain = image((&sha256(b"{}"), 2), &[]);
    let mut referring = plain.clone();
    let digest = sha256(plain.to_string().as_bytes());
    let size = plain.to_string().len();
    referring["subject"] =
        serde_json::json!({ "mediaType": MANIFEST_TYPE, "digest": digest, "size": size });
    referring["annotations"] = serde_json::json!({ "of": repository });
    let mut put = |reference: &str, manifest: &str| {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let request = Request::new("PUT", target).header("Content-Type", MANIFEST_TYPE);
        registry.send(&as_owner(request.body(manifest))).expect(201);
    };
    for tag in tags {
        put(tag, &plain.to_string());
    }
    let referring = referring.to_string();
    put(&sha256(referring.as_bytes()), &referring);
}

/// What an answer says but for the time and its own id.
fn told(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let headers = response.headers.iter();
    let headers = headers.filter(|(name, _)| name != "Date" && name != "X-Request-Id");
    let body = String::from_utf8(response.body.clone()).unwrap();
    (response.status, headers.cloned().collect(), body)
}

/// Every list that a caller may ask for, in pages of every size.
fn lists() -> Vec<String> {
    let subject = sha256(image((&sha256(b"{}"), 2), &[]).to_string().as_bytes());
    let mut lists = Vec::new();
    for size in [0, 1, 2, 4, 1000] {
        lists.push(format!("/v2/_catalog?n={size}"));
        for last in OWN.iter().chain(&OTHERS) {
            lists.push(format!("/v2/_catalog?n={size}&last={last}"));
        }
        for repository in OWN {
            lists.push(format!("/v2/{repository}/tags/list?n={size}"));
            lists.push(format!("/v2/{repository}/tags/list?n={size}&last=v1"));
            lists.push(format!("/v2/{repository}/referrers/{subject}?n={size}"));
        }
    }
    lists.push("/v2/_catalog".to_owned());
    lists
}

/// Follows the pages of the list of repositories.
fn pages(mut ask: impl FnMut(&str) -> Response, size: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(format!("/v2/_catalog?n={size}"));
    while let Some(target) = next {
        let page = ask(&target).expect(200);
        next = page.next_page();
        let names = page.json()["repositories"].clone();
        pages.push(serde_json::from_value(names).unwrap());
        assert!(pages.len() <= OWN.len(), "{pages:?}");
    }
    pages
}

/// Somebody who may pull the same, whoever it is.
enum Caller {
    Login(&'static str, String),
    Token(String),
}

impl Caller {
    fn show(&self, request: Request) -> Request {
        match self {
            Self::Login(name, secret) => basic(request, name, secret),
            Self::Token(token) => bearing(request, token),
        }
    }

    /// Whoever has a token that is got with this, or with nothing.
    fn by_token(registry: &mut Registry, login: Option<&Self>) -> Self {
        let all = OWN.map(|name| format!("scope=repository:{name}:pull"));
        let target = format!("/token?scope=registry:catalog:*&{}", all.join("&"));
        let request = Request::new("GET", target);
        let request = match login {
            Some(login) => login.show(request),
            None => request,
        };
        let answer = registry.send(&request).expect(200).json();
        Self::Token(answer["token"].as_str().unwrap().to_owned())
    }
}

fn callers(node: &Node) -> [Caller; 5] {
    let scopes = OWN.map(|name| format!("{name}:pull"));
    let scopes = scopes.iter().map(String::as_str).chain(["catalog"]);
    let scopes: Vec<&str> = scopes.collect();
    let robot = create(node.admin_address, "robot", &scopes, &[]);
    let robot = Caller::Login("robot", robot);
    let eve = Caller::Login("eve", "sesame".to_owned());
    let mut registry = Registry::new(node.address);
    let mut by_token = |login| Caller::by_token(&mut registry, login);
    let tokens = [by_token(Some(&robot)), by_token(Some(&eve)), by_token(None)];
    let [by_robot, by_eve, by_nobody] = tokens;
    [robot, eve, by_robot, by_eve, by_nobody]
}

#[test]
fn lists_are_as_if_nobody_else_had_anything() {
    let text = format!("[auth]\nmode = 'users'\nusers = ['owner:{HASH}', 'eve:{HASH}']\n{RULES}");
    let (_home, options) = configured(&text);
    let node = Node::start_with(options);
    let callers = callers(&node);
    let mut registry = Registry::new(node.address);
    for repository in OWN {
        fill(&mut registry, repository, &["v1", "v2", "v3"]);
    }
    let everything = |registry: &mut Registry| {
        let all = callers.iter().flat_map(|caller| {
            let asked = lists().into_iter();
            asked.map(move |target| (target.clone(), caller.show(Request::new("GET", target))))
        });
        let told = all.map(|(target, request)| (target, told(&registry.send(&request))));
        told.collect::<Vec<_>>()
    };
    let before = everything(&mut registry);
    for repository in OTHERS {
        fill(
            &mut registry,
            repository,
            &["v0", "v1", "v2-of-others", "v9"],
        );
    }
    for number in 0..MORE_OTHERS {
        fill(&mut registry, &format!("gamma/{number}"), &[]);
    }
    for (before, after) in before.into_iter().zip(everything(&mut registry)) {
        assert_eq!(before, after);
    }
    for caller in &callers {
        // Not everything is empty: each page is full but for the last.
        for size in 1..=5 {
            let names = OWN.map(str::to_owned);
            let expected: Vec<_> = names.chunks(size).map(<[_]>::to_vec).collect();
            let ask = |target: &str| registry.send(&caller.show(Request::new("GET", target)));
            assert_eq!(pages(ask, size), expected);
        }
        // A repository of others and one that is not there are refused alike.
        let [others, nobody] = ["team/a/b", "team/a/n"].map(|name| {
            let request = Request::new("GET", format!("/v2/{name}/tags/list"));
            let (status, headers, body) = told(&registry.send(&caller.show(request)));
            assert!([401, 403].contains(&status));
            format!("{status}{headers:?}{body}").replace(name, "NAME")
        });
        assert_eq!(others, nobody);
    }
}
