//! Tests of sockets on the loopback: bytes arrive, files too, slow peers wait alone.

use super::*;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream as Peer;
use std::rc::Rc;
use std::thread;

use crate::net::Listener;
use crate::runtime::{off_shard, run_alone, sleep, spawn, timeout};

const NOBODY_WAITS: Duration = Duration::from_secs(20);

async fn pair(listener: &Listener) -> (Stream, Peer) {
    let peer = Peer::connect(listener.address()).unwrap();
    (listener.accept().await.unwrap(), peer)
}

fn listen() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|index| u8::try_from((index / 4096 + index) % 251).unwrap())
        .collect()
}

fn read_to_end(mut peer: Peer, pause: Duration) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        thread::park_timeout(pause);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    })
}

#[test]
fn an_accepted_socket_is_closed_in_children_and_never_blocks() {
    run_alone(|| async {
        let listener = listen();
        let (stream, peer) = pair(&listener).await;
        assert_eq!(stream.peer_address(), peer.local_addr().unwrap());
        let socket = borrow(&stream.socket);
        let flags = rustix::io::fcntl_getfd(socket).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
        let status = rustix::fs::fcntl_getfl(socket).unwrap();
        assert!(status.contains(rustix::fs::OFlags::NONBLOCK));
        assert!(rustix::net::sockopt::tcp_nodelay(socket).unwrap());
    });
}

#[test]
fn both_shards_listen_on_the_port_the_first_one_found() {
    run_alone(|| async {
        let first = listen();
        let second = Listener::bind(first.address()).unwrap();
        assert_eq!(first.address(), second.address());
        assert_ne!(first.address().port(), 0);
    });
}

#[test]
fn a_wait_for_a_connection_that_is_given_up_loses_none() {
    run_alone(|| async {
        let listener = listen();
        for _ in 0..20 {
            let waiting = timeout(Duration::from_millis(1), listener.accept());
            assert!(waiting.await.is_err());
            // It comes before the kernel hears that nobody waits.
            let peer = Peer::connect(listener.address()).unwrap();
            let waiting = timeout(NOBODY_WAITS, listener.accept());
            let stream = waiting.await.unwrap().unwrap();
            assert_eq!(stream.peer_address(), peer.local_addr().unwrap());
        }
    });
}

#[test]
fn a_read_that_is_given_up_loses_nothing_and_does_not_hurry_the_next() {
    run_alone(|| async {
        let listener = listen();
        let (mut stream, mut peer) = pair(&listener).await;
        let mut into = [0; 16];
        for _ in 0..3 {
            let cut = timeout(Duration::from_millis(10), stream.read(&mut into)).await;
            assert!(cut.is_err());
        }
        peer.write_all(b"hello").unwrap();
        let read = timeout(NOBODY_WAITS, stream.read(&mut into)).await;
        assert_eq!(read.unwrap().unwrap(), 5);
        assert_eq!(into.get(..5), Some(b"hello".as_slice()));
        drop(peer);
        assert_eq!(stream.read(&mut into).await.unwrap(), 0);
    });
}

#[test]
fn a_file_arrives_whole_at_any_offset_and_any_speed() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let expected = content(9 * 1024 * 1024 + 17);
        fs::write(&path, &expected).unwrap();
        let file = Rc::new(fs::File::open(&path).unwrap());
        let listener = listen();
        for (offset, pause) in [(0, Duration::ZERO), (4097, Duration::from_millis(150))] {
            let (mut stream, peer) = pair(&listener).await;
            let received = read_to_end(peer, pause);
            let bytes = to_u64(expected.len()) - offset;
            stream
                .send_file(&*file, offset, bytes, NOBODY_WAITS)
                .await
                .unwrap();
            drop(stream);
            let received = off_shard(|| received.join().unwrap()).await.unwrap();
            assert!(received == expected.get(index_of(offset)..).unwrap());
        }
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_others_go_on() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, content(32 * 1024 * 1024)).unwrap();
        let file = fs::File::open(&path).unwrap();
        let listener = listen();
        let (mut stream, peer) = pair(&listener).await;
        let beats = spawn(async {
            for _ in 0..10 {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let stall_max = Duration::from_millis(200);
        let stalled = stream
            .send_file(&file, 0, 32 * 1024 * 1024, stall_max)
            .await;
        assert!(matches!(stalled, Err(SendFileError::Stalled)));
        beats.await.unwrap();
        drop(peer);
    });
}

#[test]
fn a_file_that_ends_early_is_the_files_fault_and_a_reset_the_peers() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, content(5000)).unwrap();
        let file = fs::File::open(&path).unwrap();
        let listener = listen();
        let (mut stream, peer) = pair(&listener).await;
        let short = stream.send_file(&file, 0, 5001, NOBODY_WAITS).await;
        assert!(matches!(short, Err(SendFileError::File(_))), "{short:?}");
        drop(peer);
        let mut outcome = Ok(());
        for _ in 0..1000 {
            outcome = stream.send_file(&file, 0, 5000, NOBODY_WAITS).await;
            if outcome.is_err() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        assert!(
            matches!(outcome, Err(SendFileError::Peer(_))),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_half_closed_connection_still_answers() {
    run_alone(|| async {
        let listener = listen();
        let accepted = async { listener.accept().await.unwrap() };
        let connected = Stream::connect(listener.address());
        let (mut server, client) = futures_lite::future::zip(accepted, connected).await;
        let mut client = client.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown_write();
        let mut into = [0; 64];
        assert_eq!(server.read(&mut into).await.unwrap(), 8);
        assert_eq!(server.read(&mut into).await.unwrap(), 0);
        assert_eq!(server.write_some(b"answer").await.unwrap(), 6);
        server.shutdown_both();
        assert_eq!(client.read(&mut into).await.unwrap(), 6);
    });
}

#[test]
fn a_stream_holds_no_descriptor_after_its_end() {
    run_alone(|| async {
        let count = || fs::read_dir("/proc/self/fd").unwrap().count();
        let listener = listen();
        let before = count();
        for _ in 0..1000 {
            let (stream, peer) = pair(&listener).await;
            drop((stream, peer));
        }
        // Other tests of this process open files too; a thousand leaks would stand out.
        assert!(count() < before + 900);
    });
}

#[test]
fn a_detached_stream_goes_on_where_it_was_on_another_executor() {
    let (hand_over, handed) = flume::bounded(1);
    let other = thread::spawn(move || {
        run_alone(move || async move {
            let mut stream = Stream::attach(handed.recv_async().await.unwrap()).unwrap();
            let mut rest = [0; 4];
            stream.read_exact(&mut rest).await.unwrap();
            stream.write_all(&rest).await.unwrap();
            let more = stream.read_exact(&mut rest).await;
            assert!(matches!(more, Err(Error::Broken(_))), "{more:?}");
        });
    });
    run_alone(move || async move {
        let listener = listen();
        let (mut stream, mut peer) = pair(&listener).await;
        peer.write_all(b"headrest").unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"head");
        hand_over.send(stream.detach().unwrap()).unwrap();
        let echoed = off_shard(move || {
            let mut echoed = [0; 4];
            peer.read_exact(&mut echoed).unwrap();
            echoed
        });
        assert_eq!(&echoed.await.unwrap(), b"rest");
    });
    other.join().unwrap();
}

#[test]
fn several_parts_go_in_one_write_and_a_full_socket_is_waited_for() {
    run_alone(|| async {
        let listener = listen();
        let (mut stream, peer) = pair(&listener).await;
        let parts = [content(100_000), Vec::new(), content(3_000_000), content(7)];
        let expected = parts.concat();
        let received = read_to_end(peer, Duration::from_millis(50));
        let mut sent = 0;
        while sent < expected.len() {
            let mut start = 0;
            let mut rest = Vec::new();
            for part in &parts {
                rest.push(IoSlice::new(
                    &part[sent.saturating_sub(start).min(part.len())..],
                ));
                start += part.len();
            }
            let writing =
                poll_fn(|context| Pin::new(&mut stream).poll_write_vectored(context, &rest));
            sent += timeout(NOBODY_WAITS, writing).await.unwrap().unwrap();
        }
        drop(stream);
        let received = off_shard(move || received.join().unwrap()).await.unwrap();
        assert!(received == expected);
    });
}
