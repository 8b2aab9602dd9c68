//! One HTTP/1.1 connection, driven: heads read under deadlines, a handler called
//! for each, its answer written, the next one read. Both doors stand on this room.
//!
//! A [`Door`] lives on each shard; an [`Entrance`] lets a fresh connection in, through
//! TLS and past proxies, as a [`Client`]; [`serve`] runs one connection of it; the
//! handler sees an [`Exchange`]. What is right and wrong is decided by
//! [`crate::http::Connection`]; here are only bytes, time and counters.
//!
//! Floor: doors
//! Uses: base, telemetry, http, proxy, auth, runtime, net
//! Crates: -

mod answer;
mod body;
mod client;
mod deadline;
mod door;
mod entering;
mod entrance;
mod error;
mod options;
mod pace;
mod receive;
mod request;
mod serve;
mod transport;
mod wire;

pub use client::Client;
pub use door::Door;
pub use entering::Entering;
pub use entrance::{Entrance, identify};
pub use error::{BodyError, Closed};
pub use options::Options;
pub use request::Exchange;
pub use serve::serve;
