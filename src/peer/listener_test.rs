//! Tests of the peer port: whoever does not begin like a node is closed, alone.

use super::*;

use crate::peer::connect::connect;
use crate::peer::testing::{NOBODY_WAITS, listen, member, node, welcome};
use crate::runtime::{run_alone, sleep};
use crate::telemetry::HandshakeFailure;

async fn knock(listener: &PeerListener, preamble: &[u8]) -> Stream {
    let mut stream = Stream::connect(listener.address()).await.unwrap();
    stream.write_all(preamble).await.unwrap();
    stream
}

fn opened(metrics: &Arc<Metrics>, places: usize, preamble_timeout: Duration) -> PeerListener {
    opened_for(metrics, (places, places), preamble_timeout)
}

/// With so many places, and so many for each address; one machine may join.
fn opened_for(
    metrics: &Arc<Metrics>,
    (places, address_max): (usize, usize),
    preamble_timeout: Duration,
) -> PeerListener {
    let door = Door {
        listener: Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        places: Arc::new(Semaphore::new(places)),
        newcomers: Turns::new(places, address_max),
        joiners: Turns::new(1, 1),
        metrics: Arc::clone(metrics),
        preamble_timeout,
    };
    PeerListener::open(door)
}

#[test]
fn a_newcomer_says_what_it_is_for_and_the_rest_stays_unread() {
    run_alone(|| async {
        let listener = listen(&Arc::new(Metrics::new()));
        let mut stream = knock(&listener, b"WLPEER\x01\x02rest").await;
        let mut newcomer = listener.accept().await.unwrap();
        assert_eq!(newcomer.purpose, Purpose::Transfer);
        let mut rest = [0; 4];
        newcomer.stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"rest");
        drop(newcomer);
        assert_eq!(stream.read(&mut rest).await.unwrap_or(0), 0);
    });
}

#[test]
fn who_begins_otherwise_is_counted_and_closed_and_the_next_is_served() {
    run_alone(|| async {
        let metrics = Arc::new(Metrics::new());
        let listener = opened(&metrics, PEER_NEWCOMERS_MAX, Duration::from_millis(300));
        let _browser = knock(&listener, b"GET / HTTP/1.1\r\n").await;
        let _newer = knock(&listener, b"WLPEER\x02\x01").await;
        let _silent = knock(&listener, b"WLPE").await;
        drop(knock(&listener, b"WL").await);
        let count = |reason| metrics.peer.handshake_failures.of(reason).value();
        let refused = async {
            while count(HandshakeFailure::Protocol) < 2
                || count(HandshakeFailure::TimedOut) < 1
                || count(HandshakeFailure::Closed) < 1
            {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let accepting = listener.accept();
        let early = timeout(
            NOBODY_WAITS,
            futures_lite::future::or(
                async { Err(accepting.await.map(|newcomer| newcomer.purpose)) },
                async {
                    refused.await;
                    Ok(())
                },
            ),
        );
        early.await.unwrap().unwrap();
        let _good = knock(&listener, b"WLPEER\x01\x01").await;
        assert_eq!(listener.accept().await.unwrap().purpose, Purpose::Calls);
    });
}

#[test]
fn a_newcomer_that_is_handed_over_is_authenticated_there_and_counted() {
    let metrics = Arc::new(Metrics::new());
    let counted = Arc::clone(&metrics);
    let (hand_over, handed) = flume::bounded(1);
    let (bound, address) = flume::bounded(1);
    let core = std::thread::spawn(move || {
        run_alone(move || async move {
            let listener = listen(&metrics);
            bound.send(listener.address()).unwrap();
            for _ in 0..2 {
                let newcomer = listener.accept().await.unwrap();
                hand_over.send(newcomer.detach().unwrap()).unwrap();
            }
        });
    });
    run_alone(move || async move {
        let target = node(2, address.recv_async().await.unwrap());
        let dialer = member(1);
        for other in [member(2), member(3)] {
            let serving = async {
                let newcomer = handed.recv_async().await.unwrap().attach().unwrap();
                newcomer.authenticate(&other).await.map(|link| link.peer())
            };
            let dialing = connect(&target, Purpose::Transfer, &dialer);
            let (served, dialed) = futures_lite::future::zip(serving, dialing).await;
            assert_eq!(served.ok(), dialed.is_ok().then_some(1));
        }
        assert_eq!(counted.peer.connections_opened.value(), 1);
        let failures = &counted.peer.handshake_failures;
        assert_eq!(failures.of(HandshakeFailure::Closed).value(), 1);
    });
    core.join().unwrap();
}

#[test]
fn no_more_wait_unproved_than_there_are_places() {
    run_alone(|| async {
        let listener = opened(&Arc::new(Metrics::new()), 2, NOBODY_WAITS);
        let mut knocking = Vec::new();
        for _ in 0..3 {
            knocking.push(knock(&listener, b"WLPEER\x01\x01").await);
        }
        let first = listener.accept().await.unwrap();
        let _second = listener.accept().await.unwrap();
        let moment = Duration::from_millis(50);
        assert!(timeout(moment, listener.accept()).await.is_err());
        drop(first.place);
        let third = timeout(NOBODY_WAITS, listener.accept()).await;
        assert_eq!(third.unwrap().unwrap().purpose, Purpose::Calls);
    });
}

#[test]
fn an_address_with_its_share_of_the_places_is_closed_and_holds_up_nobody() {
    run_alone(|| async {
        let metrics = Arc::new(Metrics::new());
        let listener = opened_for(&metrics, (3, 2), NOBODY_WAITS);
        let silent = knock(&listener, b"").await;
        let _other = knock(&listener, b"WLP").await;
        // One place is free, for others.
        let mut third = knock(&listener, b"WLPEER\x01\x01").await;
        let closed = timeout(NOBODY_WAITS, third.read(&mut [0; 1]))
            .await
            .unwrap();
        assert_eq!(closed.unwrap_or(0), 0);
        let crowded = metrics
            .peer
            .handshake_failures
            .of(HandshakeFailure::Crowded);
        assert_eq!(crowded.value(), 1);
        drop(silent);
        let failures = &metrics.peer.handshake_failures;
        while failures.of(HandshakeFailure::Closed).value() == 0 {
            sleep(Duration::from_millis(2)).await;
        }
        let _next = knock(&listener, b"WLPEER\x01\x01").await;
        assert_eq!(listener.accept().await.unwrap().purpose, Purpose::Calls);
    });
}

#[test]
fn a_machine_that_joins_keeps_a_place_of_its_own_until_its_connection_ends() {
    run_alone(|| async {
        let metrics = Arc::new(Metrics::new());
        let listener = opened(&metrics, 1, NOBODY_WAITS);
        let crowded = metrics
            .peer
            .handshake_failures
            .of(HandshakeFailure::Crowded);
        let (target, own) = (node(0, listener.address()), member(1));
        for round in 1..=2 {
            let other = member(2);
            let serving = welcome(&listener, &other);
            let dialing = connect(&target, Purpose::Join, &own);
            let (served, dialed) = futures_lite::future::zip(serving, dialing).await;
            let (served, _dialed) = (served.unwrap(), dialed.unwrap());
            // Nobody else may join …
            let mut second = knock(&listener, b"WLPEER\x01\x03").await;
            let closed = timeout(NOBODY_WAITS, second.read(&mut [0; 1]))
                .await
                .unwrap();
            assert_eq!((closed.unwrap_or(0), crowded.value()), (0, round));
            // … and members come in all the same.
            let _member = knock(&listener, b"WLPEER\x01\x01").await;
            let next = timeout(NOBODY_WAITS, listener.accept()).await;
            assert_eq!(next.unwrap().unwrap().purpose, Purpose::Calls);
            drop(served);
        }
    });
}
