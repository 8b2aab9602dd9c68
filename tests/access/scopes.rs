//! Scopes as clients may write them, from the token endpoint to the API: what is unknown
//! is passed over, and takes nothing with it.

use super::robots::basic;
use super::server::{HASH, bearing, configured};
use crate::support::{Node, Registry, Request};

const RULES: &str = "
[[auth.rules]]
subject.username = 'bob'
resource.repository = { starts = 'team/' }
actions = ['pull', 'push']
[[auth.rules]]
subject.username = 'owner'
actions = ['admin']
";

/// What is asked for, and what is given to `bob` and to `owner`.
const ROWS: [(&[&str], &str, &str); 14] = [
    (
        &["repository:team/app:pull"],
        "repository:team/app:pull",
        "repository:team/app:pull",
    ),
    // A name with a port is a name, and none of this registry's.
    (
        &["repository:registry.example.org:5000/team/app:pull"],
        "",
        "repository:registry.example.org:5000/team/app:pull",
    ),
    (
        &["repository:team/app:pull repository:localhost:5000/team/app:push"],
        "repository:team/app:pull",
        "repository:team/app:pull repository:localhost:5000/team/app:push",
    ),
    // Types.
    (&["plugin:team/app:pull"], "", ""),
    (&["repository(plugin):team/app:pull,push"], "", ""),
    (&["Repository:team/app:pull"], "", ""),
    (&["registry:other:*"], "", ""),
    (
        &["plugin:a:pull", "repository:team/app:push", "x:y:z"],
        "repository:team/app:push",
        "repository:team/app:push",
    ),
    // Actions.
    (&["repository:team/app:fly"], "", ""),
    (
        &["repository:team/app:fly,pull,PUSH,pull%0a"],
        "repository:team/app:pull",
        "repository:team/app:pull",
    ),
    // No scopes at all.
    (
        &[
            "",
            "repository",
            "repository:team/app",
            "repository::pull",
            ":::",
        ],
        "",
        "",
    ),
    (&["repository:team/app:"], "", ""),
    (
        &["registry:catalog:*"],
        "registry:catalog:*",
        "registry:catalog:*",
    ),
    // As much of it as there is.
    (
        &["repository:team/app:*"],
        "repository:team/app:pull,push",
        "repository:team/app:pull,push,delete,admin",
    ),
];

fn node() -> (tempfile::TempDir, Node) {
    let users = format!("users = ['bob:{HASH}', 'owner:{HASH}']");
    let text = format!("[auth]\nmode = 'users'\n{users}\n{RULES}");
    let (home, options) = configured(&text);
    (home, Node::start_with(options))
}

/// What a request with the token is answered.
fn status(registry: &mut Registry, request: Request, token: &str) -> u16 {
    registry.send(&bearing(request, token)).status
}

#[test]
fn what_is_unknown_in_a_scope_is_passed_over() {
    let (_home, node) = node();
    let mut registry = Registry::new(node.address);
    for (asked, bob, owner) in ROWS {
        for (user, expected) in [("bob", bob), ("owner", owner)] {
            let asked: Vec<String> = asked
                .iter()
                .map(|scope| format!("scope={}", scope.replace(' ', "%20")))
                .collect();
            let query = asked.join("&");
            let get = Request::new("GET", format!("/token?service=windlass&{query}"));
            let form = format!(
                "grant_type=password&username={user}&password=sesame&service=windlass&{query}"
            );
            let post = Request::new("POST", "/token").body(form);
            for request in [basic(get, user, "sesame"), post] {
                let answer = registry.send(&request).expect(200).json();
                assert_eq!(answer["scope"], expected, "{user}: {query}");
                let token = answer["token"].as_str().unwrap();
                let ping = Request::new("GET", "/v2/");
                assert_eq!(status(&mut registry, ping, token), 200, "{query}");
                let mut words = expected.split(' ');
                let actions = words
                    .find_map(|scope| scope.strip_prefix("repository:team/app:"))
                    .unwrap_or_default();
                let has = |word: &str| actions.split(',').any(|own| own == word);
                let pull = Request::new("GET", "/v2/team/app/manifests/absent");
                let expected = if has("pull") { 404 } else { 401 };
                assert_eq!(status(&mut registry, pull, token), expected, "{query}");
                let push = Request::new("POST", "/v2/team/app/blobs/uploads/");
                let expected = if has("push") { 202 } else { 401 };
                assert_eq!(status(&mut registry, push, token), expected, "{query}");
            }
        }
    }
    // Nor does a name with a port reach anything.
    let target = "/v2/registry.example.org:5000/team/app/tags/list";
    let request = basic(Request::new("GET", target), "owner", "sesame");
    registry.send(&request).expect(400).says(&["NAME_INVALID"]);
}
