//! Tests of calls over the loopback: every call comes to an end, and to its own.

use super::*;

use futures_util::future::join_all;

use crate::base::limits::{
    PEER_CALLS_MAX, PEER_JOIN_PAYLOAD_BYTES_MAX, PEER_PAYLOAD_BYTES_MAX, PEER_PING_PERIOD,
};
use crate::base::units::to_usize;
use crate::peer::connect::connect;
use crate::peer::decoder::Decoder;
use crate::peer::frame::{Frame, FrameKind, decode_refusal};
use crate::peer::link::Link;
use crate::peer::preamble::Purpose;
use crate::peer::testing::{
    ECHO_TAG, HANG_TAG, LARGE_TAG, NOBODY_WAITS, PANIC_TAG, REFUSE_TAG, SLOW_TAG, Server, WHO_TAG,
    listen, member, node, until, welcome,
};
use crate::runtime::{ExecutorOptions, Place, run_alone, sleep, spawn_executor};

fn calls() -> Calls {
    Calls::new(member(1), Arc::new(Metrics::new()))
}

fn text(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl Calls {
    async fn ask(&self, node: &PeerNode, payload: &[u8]) -> Result<Bytes, CallError> {
        self.call(node, Service::Propose, text(payload), NOBODY_WAITS)
            .await
    }
}

fn refusal(outcome: Result<Bytes, CallError>) -> RefusalCode {
    match outcome {
        Err(CallError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

/// Sends one frame as it is.
async fn send(link: &mut Link, frame: &Frame) {
    link.write_all(&frame.header()).await.unwrap();
    link.write_all(&frame.payload).await.unwrap();
}

/// The next frame; `None` when the connection ends.
async fn receive(link: &mut Link, decoder: &mut Decoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.take().unwrap() {
            return Some(frame);
        }
        let reading = timeout(NOBODY_WAITS, link.read(decoder.space()));
        match reading.await.unwrap() {
            Ok(0) | Err(_) => return None,
            Ok(count) => decoder.filled(count),
        }
    }
}

fn frame(service: u16, id: u64, payload: &[u8]) -> Frame {
    Frame {
        kind: FrameKind::Call,
        service,
        id,
        payload: text(payload),
    }
}

#[test]
fn many_calls_share_a_connection_and_each_gets_its_own_answer() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let calls = calls();
        let target = node(2, server.address);
        let payload = |each: usize| {
            let first = if each.is_multiple_of(3) {
                SLOW_TAG
            } else {
                ECHO_TAG
            };
            let filling = if each.is_multiple_of(10) { 100_000 } else { 10 };
            let mut payload = vec![first];
            payload.extend(each.to_le_bytes());
            payload.resize(9 + filling, 7);
            payload
        };
        let asked = (0..200).map(|each| {
            let (calls, target) = (&calls, &target);
            async move { (each, calls.ask(target, &payload(each)).await) }
        });
        for (each, answer) in join_all(asked).await {
            assert_eq!(answer.unwrap(), payload(each), "call {each}");
        }
        assert_eq!(server.metrics.peer.connections.value(), 1);
        let label = (Service::Propose.label(), CallEnd::Answered);
        assert_eq!(calls.0.metrics.peer.calls.of(label).value(), 200);
        assert_eq!(server.metrics.peer.served_calls.of(label).value(), 200);
        let sent = calls.0.metrics.peer.sent_bytes.value();
        assert_eq!(server.metrics.peer.received_bytes.value(), sent);
        assert!(sent > 2_000_000);
    });
}

#[test]
fn refusals_panics_and_large_payloads_leave_the_connection_as_it_is() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let calls = calls();
        let target = node(2, server.address);
        let refused = calls.ask(&target, &[REFUSE_TAG]).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "refused (Unavailable): not now"
        );
        let code = async |payload: &[u8]| refusal(calls.ask(&target, payload).await);
        assert_eq!(code(&[]).await, RefusalCode::Malformed);
        assert_eq!(code(&[PANIC_TAG]).await, RefusalCode::Failed);
        assert_eq!(code(&[LARGE_TAG]).await, RefusalCode::TooLarge);
        let above = vec![ECHO_TAG; 16 * 1024 * 1024 + 1];
        assert_eq!(code(&above).await, RefusalCode::TooLarge);
        let most = above.get(1..).unwrap();
        assert_eq!(calls.ask(&target, most).await.unwrap(), most);
        assert_eq!(calls.ask(&target, &[WHO_TAG]).await.unwrap(), "m1");
        assert_eq!(server.metrics.peer.connections_opened.value(), 1);
    });
}

#[test]
fn a_panicking_handler_does_not_end_an_executor_whose_panics_are_fatal() {
    let options = ExecutorOptions {
        name: "test-core".to_owned(),
        place: Place::Anywhere,
        region_bytes: 64 * 1024,
        data_directory: None,
        is_panic_fatal: true,
        beat: None,
    };
    let executor = spawn_executor(options, || async {
        let server = Server::start(member(2));
        let calls = calls();
        let target = node(2, server.address);
        let panicked = refusal(calls.ask(&target, &[PANIC_TAG]).await);
        (panicked, calls.ask(&target, &[ECHO_TAG]).await.is_ok())
    });
    let outcome = executor.unwrap().join().unwrap();
    assert_eq!(outcome, (RefusalCode::Failed, true));
}

#[test]
fn a_dying_connection_fails_its_calls_at_once_and_the_next_call_gets_a_new_one() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let address = server.address;
        // Silence is noticed later than anything here may take.
        let watch = Watch {
            period: PEER_PING_PERIOD,
            silence_max: 2 * NOBODY_WAITS,
        };
        let calls = Calls::watched(member(1), Arc::new(Metrics::new()), watch);
        let target = node(2, address);
        let clock = Clock::system();
        let hanging = [0; 5].map(|_| {
            let (calls, target) = (calls.clone(), target.clone());
            spawn(async move { calls.ask(&target, &[HANG_TAG]).await })
        });
        until(|| server.calls.get() == 5).await;
        let began = clock.now();
        let handlers = Rc::clone(&server.calls);
        drop(server);
        for call in hanging {
            let outcome = call.await.unwrap();
            assert!(matches!(outcome, Err(CallError::Lost)), "{outcome:?}");
        }
        assert!(began.elapsed() < NOBODY_WAITS);
        until(|| handlers.get() == 0).await;

        let gone = calls.ask(&target, &[ECHO_TAG]).await;
        assert!(
            matches!(gone, Err(CallError::Unreachable { .. })),
            "{gone:?}"
        );
        let again = Server::start_at(address, member(2));
        let mut refused_count = 0;
        while calls.ask(&target, &[ECHO_TAG]).await.is_err() {
            refused_count += 1;
            sleep(Duration::from_millis(5)).await;
            assert!(began.elapsed() < NOBODY_WAITS);
        }
        // The rest after a failed attempt is what refuses, not one attempt per call.
        let opened = again.metrics.peer.connections_opened.value();
        assert_eq!(opened, 1, "{refused_count} calls were refused before");
    });
}

#[test]
fn a_node_that_rests_after_a_failure_is_not_tried_for_every_call() {
    run_alone(|| async {
        let metrics = Arc::new(Metrics::new());
        let listener = listen(&metrics);
        let target = node(2, listener.address());
        let calls = calls();
        let stranger = member(3);
        let tried = Rc::new(std::cell::Cell::new(0_u32));
        let attempts = Rc::clone(&tried);
        let _accepting = spawn(async move {
            loop {
                drop(welcome(&listener, &stranger).await);
                attempts.set(attempts.get() + 1);
            }
        });
        let clock = Clock::system();
        let began = clock.now();
        let mut failed_count = 0_u32;
        while failed_count < 50 || began.elapsed() < Duration::from_millis(400) {
            let error = calls.ask(&target, &[ECHO_TAG]).await.unwrap_err();
            assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
            failed_count += 1;
            sleep(Duration::from_millis(1)).await;
        }
        // Attempts at 0, 50, 150, 350 and 750 ms, then one every second.
        let seconds = u32::try_from(began.elapsed().as_secs()).unwrap();
        assert!(tried.get() <= 5 + seconds, "{} attempts", tried.get());
    });
}

#[test]
fn a_call_that_is_given_up_forgets_its_place() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let calls = calls();
        let target = node(2, server.address);
        let limit = Duration::from_millis(50);
        let hang = calls.call(&target, Service::Propose, text(&[HANG_TAG]), limit);
        let outcome = hang.await;
        assert!(matches!(outcome, Err(CallError::TimedOut)), "{outcome:?}");
        let slow = calls.call(&target, Service::Propose, text(&[SLOW_TAG]), limit);
        assert!(slow.await.is_err());
        let is_forgotten = |slot: &Slot| slot.connection.is_forgotten();
        assert!(calls.0.slots.borrow().values().all(is_forgotten));
        // The late answer of the second finds nobody, and nothing breaks.
        assert_eq!(
            calls.ask(&target, &[SLOW_TAG]).await.unwrap(),
            text(&[SLOW_TAG])
        );
        assert_eq!(
            calls.ask(&target, &[ECHO_TAG]).await.unwrap(),
            text(&[ECHO_TAG])
        );
        assert_eq!(server.metrics.peer.connections_opened.value(), 1);
    });
}

#[test]
fn snapshots_have_a_connection_of_their_own() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let calls = calls();
        let target = node(2, server.address);
        for service in [Service::Append, Service::Vote, Service::ReadIndex] {
            let answer = calls.call(&target, service, text(&[ECHO_TAG]), NOBODY_WAITS);
            answer.await.unwrap();
        }
        assert_eq!(server.metrics.peer.connections.value(), 1);
        let answer = calls.call(&target, Service::Snapshot, text(&[ECHO_TAG]), NOBODY_WAITS);
        answer.await.unwrap();
        assert_eq!(server.metrics.peer.connections.value(), 2);
        drop(calls);
        let metrics = Arc::clone(&server.metrics);
        until(|| metrics.peer.connections.value() == 0).await;
    });
}

#[test]
fn a_peer_that_takes_everything_and_says_nothing_is_noticed() {
    run_alone(|| async {
        let metrics = Arc::new(Metrics::new());
        let listener = listen(&metrics);
        let target = node(2, listener.address());
        let watch = Watch {
            period: Duration::from_millis(20),
            silence_max: Duration::from_millis(100),
        };
        let calls = Calls::watched(member(1), Arc::new(Metrics::new()), watch);
        let asking = calls.ask(&target, &[ECHO_TAG]);
        let black_hole = async {
            let mut link = welcome(&listener, &member(2)).await.unwrap();
            let mut into = [0; 4096];
            while link.read(&mut into).await.is_ok_and(|count| count > 0) {}
        };
        let (outcome, ()) = futures_lite::future::zip(asking, black_hole).await;
        assert!(matches!(outcome, Err(CallError::Lost)), "{outcome:?}");
    });
}

#[test]
fn an_idle_connection_stays_alive_by_its_pings() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let target = node(2, server.address);
        let silence_max = Duration::from_secs(2);
        let watch = Watch {
            period: Duration::from_millis(10),
            silence_max,
        };
        let calls = Calls::watched(member(1), Arc::new(Metrics::new()), watch);
        calls.ask(&target, &[ECHO_TAG]).await.unwrap();
        let received = || server.metrics.peer.received_bytes.value();
        let before = received();
        let began = Clock::system().now();
        until(|| began.elapsed() > silence_max && received() > before + 70 * 20).await;
        calls.ask(&target, &[ECHO_TAG]).await.unwrap();
        assert_eq!(server.metrics.peer.connections_opened.value(), 1);
    });
}

#[test]
fn a_joiner_may_join_and_nothing_else() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let target = node(0, server.address);
        let calls = calls();
        let join = calls.call(&target, Service::Join, text(&[WHO_TAG]), NOBODY_WAITS);
        assert_eq!(join.await.unwrap(), "j0");
        let mut link = connect(&target, Purpose::Join, &member(1)).await.unwrap();
        send(&mut link, &frame(Service::Propose.code(), 1, &[ECHO_TAG])).await;
        let answer = receive(&mut link, &mut Decoder::new(PEER_PAYLOAD_BYTES_MAX))
            .await
            .unwrap();
        assert_eq!((answer.kind, answer.id), (FrameKind::Refusal, 1));
        let (code, _) = decode_refusal(&answer.payload).unwrap();
        assert_eq!(RefusalCode::of_code(code), RefusalCode::NotAllowed);
    });
}

#[test]
fn a_joiner_calls_once_at_a_time_and_in_small_frames() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let target = node(0, server.address);
        let mut link = connect(&target, Purpose::Join, &member(1)).await.unwrap();
        let mut decoder = Decoder::new(PEER_PAYLOAD_BYTES_MAX);
        for id in [1, 2] {
            send(&mut link, &frame(Service::Join.code(), id, &[HANG_TAG])).await;
        }
        let answer = receive(&mut link, &mut decoder).await.unwrap();
        assert_eq!((answer.kind, answer.id), (FrameKind::Refusal, 2));
        let (code, _) = decode_refusal(&answer.payload).unwrap();
        assert_eq!(RefusalCode::of_code(code), RefusalCode::Busy);
        let large = vec![ECHO_TAG; to_usize(PEER_JOIN_PAYLOAD_BYTES_MAX) + 1];
        let header = frame(Service::Join.code(), 3, &large).header();
        link.write_all(&header).await.unwrap();
        assert_eq!(receive(&mut link, &mut decoder).await, None);
        assert_eq!(server.metrics.peer.broken_frames.value(), 1);
    });
}

#[test]
fn a_service_of_a_newer_version_is_refused_and_a_bad_frame_ends_the_connection() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let target = node(2, server.address);
        let mut link = connect(&target, Purpose::Calls, &member(1)).await.unwrap();
        let mut decoder = Decoder::new(PEER_PAYLOAD_BYTES_MAX);
        send(&mut link, &frame(999, 1, &[ECHO_TAG])).await;
        let answer = receive(&mut link, &mut decoder).await.unwrap();
        let (code, _) = decode_refusal(&answer.payload).unwrap();
        assert_eq!(RefusalCode::of_code(code), RefusalCode::UnknownService);
        send(&mut link, &frame(Service::Propose.code(), 2, &[ECHO_TAG])).await;
        assert_eq!(receive(&mut link, &mut decoder).await.unwrap().id, 2);
        let mut damaged = frame(Service::Propose.code(), 3, &[ECHO_TAG]).header();
        damaged[8] ^= 1;
        link.write_all(&damaged).await.unwrap();
        link.write_all(&[ECHO_TAG]).await.unwrap();
        assert_eq!(receive(&mut link, &mut decoder).await, None);
        let metrics = Arc::clone(&server.metrics);
        until(|| metrics.peer.broken_frames.value() == 1).await;
        let calls = calls();
        assert!(calls.ask(&target, &[ECHO_TAG]).await.is_ok());
    });
}

#[test]
fn calls_beyond_the_bound_are_refused_as_busy() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let target = node(2, server.address);
        let mut link = connect(&target, Purpose::Calls, &member(1)).await.unwrap();
        let mut decoder = Decoder::new(PEER_PAYLOAD_BYTES_MAX);
        let last = crate::base::units::to_u64(PEER_CALLS_MAX) + 1;
        for id in 1..=last {
            send(&mut link, &frame(Service::Blob.code(), id, &[HANG_TAG])).await;
        }
        let answer = receive(&mut link, &mut decoder).await.unwrap();
        assert_eq!((answer.kind, answer.id), (FrameKind::Refusal, last));
        let (code, _) = decode_refusal(&answer.payload).unwrap();
        assert_eq!(RefusalCode::of_code(code), RefusalCode::Busy);
        // Pings are still answered.
        let ping = Frame {
            kind: FrameKind::Ping,
            ..frame(0, 77, &[])
        };
        send(&mut link, &ping).await;
        let pong = receive(&mut link, &mut decoder).await.unwrap();
        assert_eq!((pong.kind, pong.id), (FrameKind::Pong, 77));
    });
}

#[test]
fn more_calls_than_the_bound_wait_on_the_calling_side() {
    run_alone(|| async {
        let server = Server::start(member(2));
        let target = node(2, server.address);
        let calls = calls();
        let asked = (0..PEER_CALLS_MAX + 200).map(|_| calls.ask(&target, &[SLOW_TAG]));
        for answer in join_all(asked).await {
            assert!(answer.is_ok(), "{answer:?}");
        }
    });
}

#[test]
fn an_answer_nobody_asked_for_ends_the_connection() {
    run_alone(|| async {
        let listener = listen(&Arc::new(Metrics::new()));
        let target = node(2, listener.address());
        let calls = calls();
        let asking = calls.ask(&target, &[ECHO_TAG]);
        let odd = async {
            let mut link = welcome(&listener, &member(2)).await.unwrap();
            let call = receive(&mut link, &mut Decoder::new(PEER_PAYLOAD_BYTES_MAX))
                .await
                .unwrap();
            let answer = Frame {
                kind: FrameKind::Answer,
                id: call.id + 1000,
                ..call
            };
            send(&mut link, &answer).await;
            link
        };
        let (outcome, _link) = futures_lite::future::zip(asking, odd).await;
        assert!(matches!(outcome, Err(CallError::Lost)), "{outcome:?}");
        assert_eq!(calls.0.metrics.peer.broken_frames.value(), 1);
    });
}
