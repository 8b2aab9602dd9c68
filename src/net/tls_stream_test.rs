//! Tests of the way from the library to the kernel, and of staying where there is none.

use std::io::Read as _;
use std::thread;

use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::rustls::{ClientConnection, ConnectionTrafficSecrets, RootCertStore};

use super::*;
use crate::base::Clock;
use crate::net::{KnownServer, Listener, SelfSigned, TlsClients, TlsIdentity, TlsServer, tls};
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

/// What one end may go on with: the number of its next record, its key and its nonces.
fn spelled((sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> (u64, Vec<u8>, Vec<u8>) {
    use ConnectionTrafficSecrets as Secrets;
    match secrets {
        Secrets::Aes128Gcm { key, iv }
        | Secrets::Aes256Gcm { key, iv }
        | Secrets::Chacha20Poly1305 { key, iv } => {
            (*sequence, key.as_ref().to_vec(), iv.as_ref().to_vec())
        }
        _ => panic!("of another cipher"),
    }
}

/// The client's side of a handshake at whose end it changes its key at once, asks for
/// the other one, and sends `behind`: in one piece.
fn change_key_at_once(
    chain: &[u8],
    mut socket: std::net::TcpStream,
    behind: &[u8],
) -> ExtractedSecrets {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(chain).unwrap())
        .unwrap();
    let mut config = tls::builder_of_client()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let name = "a.example".try_into().unwrap();
    let mut state = ClientConnection::new(config.into(), name).unwrap();
    while state.is_handshaking() {
        while state.wants_write() && state.is_handshaking() {
            state.write_tls(&mut socket).unwrap();
        }
        state.read_tls(&mut socket).unwrap();
        state.process_new_packets().unwrap();
    }
    state.refresh_traffic_keys().unwrap();
    state.writer().write_all(behind).unwrap();
    let mut flight = Vec::new();
    while state.wants_write() {
        state.write_tls(&mut flight).unwrap();
    }
    socket.write_all(&flight).unwrap();
    // The answer to the wish for another key.
    state.read_tls(&mut socket).unwrap();
    state.process_new_packets().unwrap();
    state.dangerous_extract_secrets().unwrap()
}

#[test]
fn a_key_that_changes_with_the_end_of_the_handshake_is_the_one_handed_over() {
    for behind in [&b""[..], b"the first request"] {
        run_alone(async move || {
            let pair = SelfSigned::make(&["a.example".to_owned()], &Clock::system()).unwrap();
            let (chain, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
            let identity = TlsIdentity::of_pem(chain, key).unwrap();
            let server = TlsServer::for_clients(&identity, TlsClients::Anybody).unwrap();
            let server = server.with_kernel(KernelTls::all());
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.address();
            let chain = chain.to_vec();
            let client = thread::spawn(move || {
                let socket = std::net::TcpStream::connect(address).unwrap();
                change_key_at_once(&chain, socket, behind)
            });
            let stream = listener.accept().await.unwrap();
            let shaking = async {
                let socket = RecordSocket::new(stream, true);
                let mut session = server.acceptor().accept(socket).await.unwrap().into();
                let mut early = Vec::new();
                assert!(take_early(&mut session, &mut early).await.unwrap());
                (take_apart(session).unwrap().1, early)
            };
            let (near, early) = timeout(NOBODY_WAITS, shaking).await.unwrap();
            let far = off_shard(move || client.join().unwrap()).await.unwrap();
            assert_eq!(early, behind);
            assert_eq!(spelled(&near.rx), spelled(&far.tx));
            assert_eq!(spelled(&near.tx), spelled(&far.rx));
        });
    }
}
