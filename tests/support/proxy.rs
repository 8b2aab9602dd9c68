//! A proxy that sends each connection to the next node in turn: whoever leans on
//! meeting the same node twice is found out.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts the proxy; it lives as long as the process. Gives its address.
pub(crate) fn round_robin(nodes: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let address = listener.local_addr().expect("a bound address");
    thread::spawn(move || {
        let mut turn = nodes.iter().cycle();
        for client in listener.incoming() {
            let (Ok(client), Some(node)) = (client, turn.next()) else {
                return;
            };
            let node = *node;
            thread::spawn(move || {
                // A node that is down looks to the client like a registry that is.
                if let Ok(server) = TcpStream::connect(node) {
                    join(client, server);
                }
            });
        }
    });
    address
}

/// Copies both ways until both have ended.
fn join(client: TcpStream, server: TcpStream) {
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let back = thread::spawn(move || pass(server_end, client_end));
    pass(client, server);
    drop(back.join());
}

/// Copies one way; an end is passed on as an end.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let copied = io::copy(&mut from, &mut to);
    let how = if copied.is_ok() {
        Shutdown::Write
    } else {
        Shutdown::Both
    };
    drop(to.shutdown(how));
}
