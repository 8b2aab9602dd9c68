//! The ordinary client under TLS: a way through which somebody else does it.

#![expect(
    clippy::disallowed_types,
    reason = "two threads share one state of TLS"
)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use futures_rustls::rustls::ClientConnection;

use super::material::Pair;
use super::session::{Session, Wishes, client, connect};

/// Listens in the open, and passes each connection on under TLS, with a certificate of
/// its own if there is one. Lives as long as the process.
pub(crate) fn tunnel(server: SocketAddr, trusted: String, own: Option<Pair>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for open in listener.incoming().flatten() {
            let state = client(&trusted, &Wishes::default(), own.as_ref());
            let Ok(session) = Session::over(connect(server), state) else {
                continue;
            };
            let (state, socket) = session.tls.into_parts();
            let state = Arc::new(Mutex::new(state));
            let ends = (open.try_clone().unwrap(), socket.try_clone().unwrap());
            let back = Arc::clone(&state);
            thread::spawn(move || wrap(open, socket, &state));
            thread::spawn(move || unwrap(ends.1, ends.0, &back));
        }
    });
    address
}

fn wrap(mut from: TcpStream, mut into: TcpStream, state: &Mutex<ClientConnection>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).unwrap_or(0);
        let mut state = state.lock().unwrap();
        if count == 0 {
            state.send_close_notify();
        }
        let mut rest = &bytes[..count];
        loop {
            let taken = state.writer().write(rest).unwrap();
            rest = &rest[taken..];
            while state.wants_write() {
                if state.write_tls(&mut into).is_err() {
                    return;
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        if count == 0 {
            return;
        }
    }
}

fn unwrap(mut from: TcpStream, mut into: TcpStream, state: &Mutex<ClientConnection>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).unwrap_or(0);
        let mut rest = &bytes[..count];
        let mut said = Vec::new();
        while !rest.is_empty() {
            let mut state = state.lock().unwrap();
            state.read_tls(&mut rest).unwrap();
            let Ok(news) = state.process_new_packets() else {
                return;
            };
            let mut piece = vec![0; news.plaintext_bytes_to_read()];
            state.reader().read_exact(&mut piece).unwrap();
            said.extend(piece);
        }
        if count == 0 || into.write_all(&said).is_err() {
            drop(into.shutdown(Shutdown::Write));
            return;
        }
    }
}
