//! Tests of the way from the library to the kernel, and of staying where there is none.

use std::io::{Read as _, Write as _};
use std::thread;

use super::*;
use crate::base::Clock;
use crate::net::{KnownServer, Listener, SelfSigned, TlsClients, TlsIdentity, TlsServer};
use crate::runtime::{off_shard, run_alone};

const NOBODY_WAITS: Duration = Duration::from_secs(20);
const CONTENT_BYTES: usize = 300_000;

fn content() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(CONTENT_BYTES).collect()
}

/// A server to be handed over wholly, and the client's side.
fn ends() -> (TlsServer, KnownServer) {
    let pair = SelfSigned::make(&["a.example".to_owned()], &Clock::system()).unwrap();
    let (chain, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
    let identity = TlsIdentity::of_pem(chain, key).unwrap();
    let server = TlsServer::for_clients(&identity, TlsClients::Anybody).unwrap();
    let server = server.with_kernel(KernelTls::all());
    (server, KnownServer::of_pem(chain).unwrap())
}

/// A client sends, and gets back what it has sent. The content comes right behind the
/// end of the handshake.
fn echo(put_back_bytes: usize) {
    run_alone(async move || {
        let (server, known) = ends();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let client = thread::spawn(move || {
            let socket = std::net::TcpStream::connect(address).unwrap();
            let mut stream = known.over(socket).unwrap();
            stream.write_all(&content()).unwrap();
            stream.flush().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let serving = async {
            let mut stream = listener.accept().await.unwrap();
            let mut first = vec![0; put_back_bytes];
            if put_back_bytes > 0 {
                let count = stream.read(&mut first).await.unwrap();
                stream.put_back(&first[..count]);
            }
            let mut stream = server.accept(stream).await.unwrap();
            assert_eq!(stream.is_in_kernel(), KernelTls::probed().is_on());
            let mut received = vec![0; CONTENT_BYTES];
            stream.read_exact(&mut received).await.unwrap();
            assert!(received == content());
            stream.write_all(&received).await.unwrap();
            stream.close().await.unwrap();
        };
        timeout(NOBODY_WAITS, serving).await.unwrap();
        let received = off_shard(move || client.join().unwrap()).await.unwrap();
        assert!(received == content());
    });
}

#[test]
fn nothing_is_lost_between_handshake_and_content_whoever_encrypts() {
    for _ in 0..10 {
        echo(0);
    }
}

#[test]
fn bytes_that_were_put_back_before_the_handshake_are_part_of_it() {
    echo(1);
    echo(2048);
}

#[test]
fn a_session_that_no_kernel_takes_is_not_read_record_by_record() {
    run_alone(async || {
        let (server, known) = ends();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let client = thread::spawn(move || {
            let socket = std::net::TcpStream::connect(address).unwrap();
            known.over(socket).unwrap().flush()
        });
        let stream = listener.accept().await.unwrap();
        let server = server.with_kernel(KernelTls::off());
        let accepted = timeout(NOBODY_WAITS, server.accept(stream)).await.unwrap();
        assert!(!accepted.is_ok_and(|stream| stream.is_in_kernel()));
        off_shard(move || client.join().unwrap().ok())
            .await
            .unwrap();
    });
}
