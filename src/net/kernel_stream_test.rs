//! Tests of what a stream does around the kernel's encryption. The sockets here are
//! plain: what would be a record goes in the open.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use super::*;
use crate::net::TlsError;
use crate::runtime::{off_shard, run_alone, timeout};

/// Runs on a stream of the suite, and the other end of its connection.
fn over<F: Future<Output = ()>>(
    suite: Suite,
    main: impl FnOnce(KernelStream, std::net::TcpStream) -> F + Send + 'static,
) {
    run_alone(move || async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let stream = Stream::attach(OwnedFd::from(near)).unwrap();
        main(KernelStream::new(stream, suite), far).await;
    });
}

/// Of TLS 1.2, and of 1.3.
const OLD: Suite = Suite::ALL[0];
const NEW: Suite = Suite::ALL[3];

#[test]
fn an_alert_says_the_other_end_refuses_as_it_does_where_this_process_encrypts() {
    for suite in [OLD, NEW] {
        over(suite, async |mut kernel, _far| {
            // "Unknown authority", and "a certificate is required".
            for code in [48, 116] {
                let error = kernel.heed(&Record::Alert([2, code])).unwrap_err();
                let error = TlsError::of_first_read(Error::Broken(error));
                assert!(matches!(error, TlsError::Refused(_)), "{error:?}");
            }
            assert!(!kernel.is_ended && !kernel.is_rekeyed);
        });
    }
}

#[test]
fn an_announced_end_is_the_end_at_any_level() {
    for level in [1, 2] {
        over(NEW, async move |mut kernel, _far| {
            kernel.heed(&Record::Alert([level, 0])).unwrap();
            assert!(kernel.is_ended);
        });
    }
}

#[test]
fn warnings_end_nothing_until_there_are_too_many_and_tls_1_3_has_one_only() {
    // "No renegotiation".
    let warning = Record::Alert([1, 100]);
    over(OLD, async |mut kernel, _far| {
        for _ in 0..WARNINGS_MAX {
            kernel.heed(&Record::Alert([1, 100])).unwrap();
        }
        kernel.heed(&Record::Alert([1, 100])).unwrap_err();
    });
    over(NEW, async move |mut kernel, _far| {
        kernel.heed(&Record::Alert([1, USER_CANCELED_TAG])).unwrap();
        kernel.heed(&warning).unwrap_err();
    });
}

#[test]
fn another_key_of_the_other_end_cuts_the_connection_and_is_remembered() {
    over(NEW, async |mut kernel, _far| {
        let error = kernel.heed(&Record::Handshake(KEY_UPDATE_TAG)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(kernel.is_rekeyed());
    });
}

#[test]
fn the_end_is_said_once_however_often_it_is_closed() {
    over(NEW, async |mut kernel, mut far| {
        for _ in 0..3 {
            kernel.close().await.unwrap();
        }
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert_eq!(received, CLOSE_NOTIFY);
    });
}

#[test]
fn closing_goes_on_where_it_was_given_up_with_what_is_left_of_its_time() {
    over(NEW, async |mut kernel, mut far| {
        let content = vec![7; 1 << 20];
        let mut sent = 0;
        let filling = async {
            loop {
                sent += kernel.stream.write_some(&content).await.unwrap();
            }
        };
        timeout(Duration::from_millis(200), filling)
            .await
            .unwrap_err();
        let given_up = timeout(Duration::from_millis(100), kernel.close()).await;
        assert!(given_up.is_err());
        assert!(!kernel.closing.is_done);
        let waited = kernel.closing.waited;
        assert!(waited > Duration::ZERO, "{waited:?}");
        let taking = std::thread::spawn(move || {
            let mut received = Vec::new();
            far.read_to_end(&mut received).map(|_| received)
        });
        kernel.close().await.unwrap();
        let received = off_shard(move || taking.join().unwrap().unwrap());
        let received = received.await.unwrap();
        assert_eq!(received.len(), sent + CLOSE_NOTIFY.len());
        assert!(received.ends_with(&CLOSE_NOTIFY));
    });
}

#[test]
fn records_of_a_file_are_counted_by_the_calls_that_sent_them() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![1; 100_000]).unwrap();
    over(NEW, async move |mut kernel, far| {
        let _far = far;
        let stall = Duration::from_secs(20);
        kernel.send_file(&file, 0, 100_000, stall).await.unwrap();
        // Seven whole records at least, and in two turns no more than two others.
        let counted = kernel.sent_records;
        assert!((7..=30).contains(&counted), "{counted}");
        for _ in 0..10 {
            kernel.send_file(&file, 0, 1, stall).await.unwrap();
        }
        assert!(kernel.sent_records >= counted + 10);
        assert!(!kernel.is_worn());
        kernel.sent_records = kernel.suite.records_max() / 4;
        assert!(kernel.is_worn());
        kernel.sent_records = kernel.suite.records_max() - 1;
        let error = kernel.send_file(&file, 0, 100_000, stall).await;
        assert!(matches!(error, Err(SendFileError::Peer(_))), "{error:?}");
        let written = std::future::poll_fn(|context| kernel.poll_write(context, b"more"));
        written.await.unwrap_err();
    });
}

#[test]
fn a_call_makes_no_more_records_than_are_counted() {
    const TURN_BYTES: u64 = 64 * KIB as u64;
    // The first page may begin anywhere, and within a record that was begun before.
    for bytes in [1, 4095, 4096, 16_384, 16_385, 65_536, 65_537, 262_144] {
        for skipped in [0, 1, 4095] {
            let (mut left, mut room, mut records) = (bytes, TURN_BYTES - skipped, 0);
            while left > 0 {
                let turn = left.min(room);
                records += turn.div_ceil(RECORD_BYTES_MAX);
                left -= turn;
                room = TURN_BYTES;
            }
            let counted = records_of_pages(bytes);
            assert!(records < counted, "{bytes} {skipped}: {records}");
            assert!(counted <= records + 2, "{bytes} {skipped}: {records}");
        }
    }
}
