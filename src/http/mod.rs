//! HTTP/1.1 as values: bytes in, events out; no socket, no clock, no await.
//!
//! One strict dialect: where RFC 9112 lets a server be lenient, this room
//! refuses, so that no two parties can read one stream of bytes in two ways.
//!
//! - [`Head::parse`] and [`HeadScan`] read a request head.
//! - [`BodyDecoder`] unwraps a body in place.
//! - [`Connection`] orders heads, bodies and answers on one connection.
//! - [`ResponseHead`] writes what goes back.
//!
//! Floor: rules
//! Uses: base
//! Crates: httparse

mod body;
mod chunk;
mod connection;
mod date;
mod framing;
mod head;
mod method;
mod query;
mod range;
mod refusal;
mod request_line;
mod response;
mod scan;
mod status;

pub use body::{BodyDecoder, Decoded};
pub use connection::{After, Connection, ConnectionBounds, Persistence};
pub use date::{http_date, utc_time};
pub use framing::Framing;
pub use head::Head;
pub use method::Method;
pub use query::{Query, encode_component};
pub use range::{ContentRange, RangeRequest, Ranged};
pub use refusal::Refusal;
pub use request_line::Version;
pub use response::{CONTINUE, ResponseHead};
pub use scan::HeadScan;
pub use status::Status;
