//! One real process under TLS and behind proxies, and clients that behave, misbehave,
//! or hold a certificate of their own.

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

#[path = "../access/server.rs"]
#[expect(dead_code, reason = "a part of what it does is for tests without TLS")]
mod server;
#[path = "../access/table.rs"]
#[expect(dead_code, reason = "a part of the table is for tests without TLS")]
mod table;

mod certificates;
mod clients;
mod identities;
mod half_open;
mod handshake;
mod material;
mod proxies;
mod serving;
mod session;
mod tunnel;
