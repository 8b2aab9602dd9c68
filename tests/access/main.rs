//! Who may do what, against real processes: tokens of another server, users and
//! tokens of the registry's own, rules, and what each answer gives away.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
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

#[path = "../tls/material.rs"]
mod material;
#[path = "../tls/session.rs"]
#[expect(dead_code, reason = "as above")]
mod session;
#[path = "../tls/tunnel.rs"]
mod tunnel;

mod answers;
mod audit;
mod behind;
mod both;
mod elsewhere;
mod expiry;
mod issuer;
mod issuers;
mod keys;
mod limits;
mod lists;
mod matrix;
mod robots;
mod scopes;
mod secrets;
mod server;
mod settings;
mod table;
mod timing;
mod users;
