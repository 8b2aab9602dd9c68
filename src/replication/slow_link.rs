//! A link between nodes that is slower than the loopback, for the tests of this room.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::base::Clock;

/// Where to connect to get no more than `bytes_per_second` from `target` on each
/// connection. Ends with the process.
pub(super) fn slow_link(target: SocketAddr, bytes_per_second: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(server) = TcpStream::connect(target) else {
                continue;
            };
            let client = client.unwrap();
            let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || forward(from, to, u64::MAX));
            thread::spawn(move || forward(server, client, bytes_per_second));
        }
    });
    address
}

/// Copies until either end stops, then stops both.
fn forward(mut from: TcpStream, mut to: TcpStream, bytes_per_second: u64) {
    let (clock, mut buffer) = (Clock::system(), [0; 16 * 1024]);
    let mut due = clock.now();
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        let bytes = u64::try_from(count).unwrap();
        // What was not sent in an idle time is not sent faster later.
        due = due.max(clock.now());
        due += Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second);
        while let Some(early) = due.checked_duration_since(clock.now()) {
            thread::park_timeout(early);
        }
    }
    for end in [from, to] {
        // It may be gone already.
        drop(end.shutdown(Shutdown::Both));
    }
}
