//! Tests of handshakes in the open: only who has the secret gets a link.

use super::*;

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::zip;

use crate::peer::connect::{connect, welcome_within};
use crate::peer::error::ConnectError;
use crate::peer::listener::PeerListener;
use crate::peer::node::PeerNode;
use crate::peer::preamble::Purpose;
use crate::peer::security::Security;
use crate::peer::testing::{knock, listen, meet, member, node, plain, welcome as admit};
use crate::runtime::run_alone;
use crate::telemetry::{HandshakeFailure, Metrics};

fn listener() -> PeerListener {
    listen(&Arc::new(Metrics::new()))
}

async fn is_alive(listener: &PeerListener) -> bool {
    let ends = (&member(1), &member(2));
    let (dialer, other) = meet(listener, Purpose::Calls, 2, ends).await;
    dialer.is_ok() && other.is_ok()
}

fn hello(own: u64, wanted: u64) -> DialerHello {
    let nonce = [1; 32];
    DialerHello { nonce, own, wanted }
}

#[test]
fn members_prove_themselves_and_bytes_follow() {
    run_alone(|| async {
        let listener = listener();
        for purpose in [Purpose::Calls, Purpose::Transfer] {
            let ends = (&member(1), &member(2));
            let (dialer, other) = meet(&listener, purpose, 2, ends).await;
            let (mut dialer, mut other) = (dialer.unwrap(), other.unwrap());
            assert_eq!((dialer.peer(), other.peer()), (2, 1));
            dialer.write_all(b"frames").await.unwrap();
            let mut frames = [0; 6];
            other.read_exact(&mut frames).await.unwrap();
            assert_eq!(&frames, b"frames");
            assert!(other.plain_stream().is_some());
        }
    });
}

#[test]
fn another_secret_or_cluster_is_refused_and_the_listener_goes_on() {
    run_alone(|| async {
        let listener = listener();
        let strangers = [
            plain('a', 1, "another secret of 16+"),
            plain('b', 1, "the secret of the test"),
        ];
        for stranger in &strangers {
            let ends = (stranger, &member(2));
            let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
            let refused = AuthError::Refused(Verdict::NotProved).to_string();
            assert!(
                matches!(&dialer, Err(ConnectError::Auth(error)) if error.to_string() == refused),
                "{dialer:?}"
            );
            let error = other.unwrap_err();
            assert!(matches!(error, AuthError::Secret), "{error:?}");
            assert_eq!(error.reason(), HandshakeFailure::Secret);
        }
        assert!(is_alive(&listener).await);
    });
}

#[test]
fn a_dialer_leaves_when_another_node_answers() {
    run_alone(|| async {
        let listener = listener();
        let ends = (&member(1), &member(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 3, ends).await;
        let Err(ConnectError::Auth(AuthError::Node { wanted, found })) = dialer else {
            panic!("{dialer:?}");
        };
        assert_eq!((wanted, found), (3, 2));
        assert!(matches!(other, Err(AuthError::Broken(_))), "{other:?}");
        assert!(is_alive(&listener).await);
    });
}

#[test]
fn a_proof_meant_for_another_node_is_refused() {
    run_alone(|| async {
        let listener = listener();
        let address = listener.address();
        let Security::Plain(secret) = member(1) else {
            panic!("the test's nodes are plain");
        };
        let dialing = async {
            let hello = hello(1, 3);
            let mut stream = knock(address, &hello.encode()).await;
            let answer = receive(&mut stream).await.unwrap();
            let claim = Claim {
                role: Role::Dialer,
                own_nonce: hello.nonce,
                other_nonce: ListenerHello::decode(&answer).unwrap().nonce,
                own: 1,
                wanted: 3,
            };
            stream.write_all(&claim.prove(&secret)).await.unwrap();
            receive::<1>(&mut stream).await.unwrap()
        };
        let (verdict, other) = zip(dialing, admit(&listener, &member(2))).await;
        assert_eq!(verdict, [Verdict::OtherNode.code()]);
        assert!(matches!(
            other,
            Err(AuthError::Node {
                wanted: 3,
                found: 2
            })
        ));
    });
}

#[test]
fn a_listener_without_the_secret_is_refused() {
    run_alone(|| async {
        let listener = listener();
        let target = node(2, listener.address());
        let own = member(1);
        let dialing = connect(&target, Purpose::Calls, &own);
        let lying = async {
            let mut stream = listener.accept().await.unwrap().stream;
            receive::<DIALER_HELLO_BYTES>(&mut stream).await.unwrap();
            let (nonce, own) = ([9; 32], 2);
            let hello = ListenerHello { nonce, own }.encode();
            stream.write_all(&hello).await.unwrap();
            let proof = receive::<PROOF_BYTES>(&mut stream).await.unwrap();
            stream.write_all(&[Verdict::Welcome.code()]).await.unwrap();
            // The dialer's own proof, sent back.
            stream.write_all(&proof).await.unwrap();
            stream
        };
        let (dialer, _stream) = zip(dialing, lying).await;
        assert!(
            matches!(dialer, Err(ConnectError::Auth(AuthError::Secret))),
            "{dialer:?}"
        );
    });
}

#[test]
fn a_node_that_joins_needs_the_secret_and_no_cluster() {
    run_alone(|| async {
        let listener = listener();
        let joiner = plain('f', 77, "the secret of the test");
        let ends = (&joiner, &member(2));
        let (dialer, other) = meet(&listener, Purpose::Join, 0, ends).await;
        assert_eq!((dialer.unwrap().peer(), other.unwrap().peer()), (2, 0));
        let stranger = plain('a', 1, "another secret of 16+");
        let ends = (&stranger, &member(2));
        let (dialer, other) = meet(&listener, Purpose::Join, 0, ends).await;
        assert!(dialer.is_err());
        assert!(matches!(other, Err(AuthError::Secret)), "{other:?}");
    });
}

#[test]
fn what_is_no_handshake_is_refused_and_the_listener_goes_on() {
    run_alone(|| async {
        let listener = listener();
        let address = listener.address();
        // The head of a TLS record, and enough behind it.
        let other_bytes: Vec<u8> = [22, 3, 1, 2, 0].into_iter().chain([0; 60]).collect();
        let knocking = knock(address, &other_bytes);
        let (_stream, other) = zip(knocking, admit(&listener, &member(2))).await;
        let error = other.unwrap_err();
        assert!(matches!(error, AuthError::NotPlain), "{error:?}");
        assert_eq!(error.reason(), HandshakeFailure::Protocol);

        let cut = async {
            let stream = knock(address, hello(1, 2).encode().get(..20).unwrap()).await;
            stream.shutdown_both();
            stream
        };
        let (_stream, other) = zip(cut, admit(&listener, &member(2))).await;
        assert!(matches!(other, Err(AuthError::Broken(_))), "{other:?}");

        let half = hello(1, 2).encode();
        let knocking = knock(address, &half);
        let slow = async {
            let newcomer = listener.accept().await.unwrap();
            let limit = Duration::from_millis(50);
            welcome_within(newcomer.stream, Purpose::Calls, &member(2), limit).await
        };
        let (_stream, other) = zip(knocking, slow).await;
        assert!(matches!(other, Err(AuthError::TimedOut)), "{other:?}");
        assert!(is_alive(&listener).await);
    });
}

#[test]
fn nobody_at_the_address_is_a_failed_connect() {
    run_alone(|| async {
        let gone = listener().address();
        let dialer = connect(&node(2, gone), Purpose::Calls, &member(1)).await;
        assert!(
            matches!(dialer, Err(ConnectError::Connect { .. })),
            "{dialer:?}"
        );
        let nowhere = PeerNode {
            id: 2,
            address: "no such name:1".into(),
        };
        let dialer = connect(&nowhere, Purpose::Calls, &member(1)).await;
        assert!(
            matches!(dialer, Err(ConnectError::Resolve { .. })),
            "{dialer:?}"
        );
    });
}
