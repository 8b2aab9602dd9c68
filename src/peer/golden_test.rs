//! What nodes say to each other, byte for byte: a node of another version must read it.

use std::fmt::Write as _;

use bytes::Bytes;

use super::auth_error::Verdict;
use super::certificate::Fingerprint;
use super::challenge::{Claim, DialerHello, ListenerHello, Role};
use super::decoder::Decoder;
use super::error::RefusalCode;
use super::frame::{Frame, FrameError, FrameKind, encode_refusal};
use super::gather_message::{Standing, encode_question};
use super::identity::{ClusterId, PeerIdentity};
use super::join_secret::JoinSecret;
use super::preamble::{PreambleError, Purpose};
use super::security::SharedSecret;
use super::token::JoinToken;
use crate::base::limits::PEER_PAYLOAD_BYTES_MAX;

const GOLDEN: &str = include_str!("../../tests/fixtures/peer/messages_v1.txt");

fn frame(kind: FrameKind, service: u16, payload: &[u8]) -> Frame {
    let id = 0x0102_0304_0506_0708;
    let payload = Bytes::copy_from_slice(payload);
    Frame {
        kind,
        service,
        id,
        payload,
    }
}

fn frames() -> [(&'static str, Frame); 5] {
    let refusal = encode_refusal(RefusalCode::Busy.code(), "busy");
    [
        ("call", frame(FrameKind::Call, 5, b"what?")),
        ("answer", frame(FrameKind::Answer, 5, b"that")),
        ("refusal", frame(FrameKind::Refusal, 5, &refusal)),
        ("ping", frame(FrameKind::Ping, 0, b"")),
        ("pong", frame(FrameKind::Pong, 0, b"")),
    ]
}

fn encode(frame: &Frame) -> Vec<u8> {
    [frame.header().as_slice(), &frame.payload].concat()
}

fn proof(role: Role) -> Vec<u8> {
    let cluster = ClusterId::parse("00112233445566778899aabbccddeeff").unwrap();
    let identity = PeerIdentity { cluster, node: 1 };
    let secret = SharedSecret::new(identity, b"a secret of this test").unwrap();
    let claim = Claim {
        role,
        own_nonce: [1; 32],
        other_nonce: [2; 32],
        own: 1,
        wanted: 2,
    };
    claim.prove(&secret).to_vec()
}

/// What machines say that are to form a cluster.
fn gathering() -> [(&'static str, Vec<u8>); 4] {
    let secret = JoinSecret::new("registry", b"a secret of this test").unwrap();
    let cluster = ClusterId::parse("00112233445566778899aabbccddeeff").unwrap();
    let waits = Standing::Waits {
        machine: [3; 16],
        plan: [4; 32],
        is_founder: true,
    };
    let member = Standing::Member {
        cluster,
        authority: Fingerprint::of_bytes([6; 32]),
    };
    [
        ("question", encode_question(&secret, &[9; 32])),
        ("waits", waits.encode(&secret, &[9; 32])),
        ("member", member.encode(&secret, &[9; 32])),
        ("of_list", secret.proof(cluster, &[3; 16]).to_vec()),
    ]
}

fn every_message() -> Vec<(&'static str, Vec<u8>)> {
    let mut messages = vec![
        ("preamble", Purpose::Transfer.preamble().to_vec()),
        ("verdict", vec![Verdict::OtherCluster.code()]),
        (
            "dialer",
            DialerHello {
                nonce: [7; 32],
                own: 1,
                wanted: 2,
            }
            .encode(),
        ),
        (
            "listener",
            ListenerHello {
                nonce: [8; 32],
                own: 2,
            }
            .encode(),
        ),
        ("proof", proof(Role::Dialer)),
        ("joining", proof(Role::Joiner)),
        ("token", JoinToken::hash(&[5; 32]).to_vec()),
    ];
    messages.extend(gathering());
    messages.extend(frames().map(|(name, frame)| (name, encode(&frame))));
    messages
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
fn recorded_frames_read_back() {
    let mut decoder = Decoder::new(PEER_PAYLOAD_BYTES_MAX);
    for (_, frame) in frames() {
        let bytes = encode(&frame);
        decoder.space()[..bytes.len()].copy_from_slice(&bytes);
        decoder.filled(bytes.len());
        assert_eq!(decoder.take(), Ok(Some(frame)));
    }
    let fingerprint = Fingerprint::of(b"authority");
    let token = JoinToken::random(fingerprint);
    assert_eq!(JoinToken::parse(&token.to_string()), Ok(token));
}

#[test]
fn a_newer_version_of_each_is_refused() {
    let messages = every_message();
    let newer = |name: &str, place: usize| {
        let (_, message) = messages.iter().find(|(each, _)| *each == name).unwrap();
        let mut newer = message.clone();
        newer[place] += 1;
        newer
    };
    let preamble = Purpose::of_preamble(newer("preamble", 6).try_into().unwrap());
    assert_eq!(preamble, Err(PreambleError::Version { version: 2 }));
    let dialer = DialerHello::decode(&newer("dialer", 4).try_into().unwrap());
    assert_eq!(dialer, None);
    let listener = ListenerHello::decode(&newer("listener", 4).try_into().unwrap());
    assert_eq!(listener, None);
    for (name, _) in frames() {
        let mut decoder = Decoder::new(PEER_PAYLOAD_BYTES_MAX);
        let bytes = newer(name, 4);
        decoder.space()[..bytes.len()].copy_from_slice(&bytes);
        decoder.filled(bytes.len());
        assert_eq!(decoder.take(), Err(FrameError::Version { version: 2 }));
    }
}
