//! Walks the endpoint table: every row with its successes and its refusals,
//! against one real process that all tests of this file share.
//!
//! `WINDLASS_TEST_TARGET=host:port` aims the suite at a server that runs already;
//! repositories are named by process, so that runs do not meet.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on must fail, and it waits on a real clock"
)]

#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "each test binary uses its part of the support"
)]
mod support;

mod blobs;
mod catalog;
mod connection;
mod dialect;
mod manifest_rules;
mod manifests;
mod mounts;
mod names;
mod push_tags;
mod ranges;
mod referrers;
mod tags;
mod upload_rules;
mod uploads;

use support::{Registry, shared_address};

/// A connection of its own to the shared node.
fn registry() -> Registry {
    Registry::new(shared_address())
}

/// A repository of this run that no other test uses.
fn repository(name: &str) -> String {
    format!("conformance-{}/{name}", std::process::id())
}

/// The answer to GET of what was deleted, which is 404. Of several nodes each is asked
/// more than once: by the time a delete is answered none of them serves what is gone.
#[track_caller]
fn gone(registry: &mut Registry, target: &str) -> support::Response {
    let nodes = std::env::var("WINDLASS_TEST_NODES").map_or(1, |count| count.parse().unwrap());
    for _ in 1..2 * nodes {
        registry.get(target).expect(404);
    }
    registry.get(target).expect(404)
}

/// The answer to GET of a session whose last request broke off: the server may
/// need a moment to notice, and says 404 or 409 to nobody in between.
#[track_caller]
fn settled(registry: &mut Registry, session: &str) -> support::Response {
    let mut answer = None;
    let held = support::wait_for(std::time::Duration::from_secs(10), || {
        let got = registry.get(session);
        let is_settled = got.status == 204;
        answer = Some(got);
        is_settled
    });
    let answer = answer.unwrap();
    assert!(held, "the session is {}", answer.status);
    answer
}
