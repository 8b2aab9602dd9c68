//! Links between nodes that are worse than the loopback, for the tests of this room.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::Clock;

/// What a link does to each connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// No more than so many bytes come in a second.
    Slow(u64),
    /// As many as this says at the time.
    Regulated(&'static AtomicU64),
    /// Once so many bytes have come, nothing does for a while.
    Silent(u64, Duration),
}

/// Where to connect to get what comes from `target` with this fault. Ends with the
/// process.
pub(super) fn bad_link(target: SocketAddr, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(server) = TcpStream::connect(target) else {
                continue;
            };
            let client = client.unwrap();
            let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || forward(from, to, Fault::Slow(u64::MAX)));
            thread::spawn(move || forward(server, client, fault));
        }
    });
    address
}

/// Copies until either end stops, then stops both.
fn forward(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let (clock, mut buffer) = (Clock::system(), [0; 16 * 1024]);
    let mut due = clock.now();
    let mut passed_bytes = 0;
    loop {
        let wanted = match fault {
            Fault::Silent(bytes, pause) if passed_bytes == bytes => {
                wait(&clock, clock.now() + pause);
                buffer.len()
            }
            Fault::Silent(bytes, _) if passed_bytes < bytes => {
                usize::try_from(bytes - passed_bytes)
                    .unwrap()
                    .min(buffer.len())
            }
            Fault::Silent(..) | Fault::Slow(_) | Fault::Regulated(_) => buffer.len(),
        };
        let Ok(count @ 1..) = from.read(&mut buffer[..wanted]) else {
            break;
        };
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        let bytes = u64::try_from(count).unwrap();
        passed_bytes += bytes;
        let rate = match fault {
            Fault::Slow(bytes_per_second) => Some(bytes_per_second),
            Fault::Regulated(rate) => Some(rate.load(Ordering::Relaxed)),
            Fault::Silent(..) => None,
        };
        if let Some(bytes_per_second) = rate {
            // What was not sent in an idle time is not sent faster later.
            due = due.max(clock.now());
            due += Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second);
            wait(&clock, due);
        }
    }
    for end in [from, to] {
        // It may be gone already.
        drop(end.shutdown(Shutdown::Both));
    }
}

fn wait(clock: &Clock, due: Instant) {
    while let Some(early) = due.checked_duration_since(clock.now()) {
        thread::park_timeout(early);
    }
}
