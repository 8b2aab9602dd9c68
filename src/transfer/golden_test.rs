//! What is said about content, byte for byte: a node of another version must read it.

use std::fmt::Write as _;

use super::message::{Header, TransferRefusal, TransferRequest};
use super::take::{TakeRecord, TakeRequest};
use crate::oci::{Algorithm, Digest};

const GOLDEN: &str = include_str!("../../tests/fixtures/transfer/messages_v1.txt");

fn request() -> TransferRequest {
    TransferRequest {
        digest: Digest::of(Algorithm::Sha256, b"content"),
        generation: 3,
        offset: 1 << 20,
        bytes: 1 << 21,
    }
}

fn take() -> TakeRequest {
    TakeRequest {
        id: [0x5a; 40],
        algorithm: Algorithm::Sha512,
    }
}

fn every_message() -> [(&'static str, Vec<u8>); 8] {
    [
        ("request", request().encode()),
        ("content", Header::Content { size: 9, bytes: 4 }.encode()),
        ("take", take().encode()),
        ("ready", Header::Ready.encode()),
        ("held", Header::Held.encode()),
        ("bytes", TakeRecord::Bytes(1 << 19).encode().to_vec()),
        ("end", TakeRecord::End(77).encode().to_vec()),
        ("absent", Header::Refused(TransferRefusal::NotHere).encode()),
    ]
}

#[test]
fn every_message_is_written_as_recorded() {
    let mut written = String::new();
    for (name, message) in every_message() {
        let hex = message.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(written, "{name} {hex}").unwrap();
    }
    assert_eq!(written, GOLDEN, "what nodes say has changed");
}

#[test]
fn recorded_requests_read_back() {
    let record = request().encode().try_into().unwrap();
    assert_eq!(TransferRequest::decode(&record), Ok(request()));
    let record = take().encode().try_into().unwrap();
    assert_eq!(TakeRequest::decode(&record), Ok(take()));
}

#[test]
fn a_newer_version_of_each_is_refused() {
    /// Where the version stands in a request and in a header.
    const VERSION_AT_BYTES: usize = 4;
    let newer = |mut message: Vec<u8>| {
        message[VERSION_AT_BYTES] += 1;
        message
    };
    let request = newer(request().encode()).try_into().unwrap();
    assert!(TransferRequest::decode(&request).is_err());
    let content = newer(Header::Content { size: 9, bytes: 4 }.encode());
    assert!(Header::decode(&content.try_into().unwrap()).is_err());
}
