//! The strict dialect as a table: bytes in, answers out, connection open or
//! closed. Knows only an address, so that the same rows run against a small
//! handler in the test process and against the real binary.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

#[path = "dialect_order.rs"]
mod order;
#[path = "dialect_rows.rs"]
mod rows;

use rows::rows;

/// A bound on every read, far above what a right answer takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers 200 on every server under test, to HEAD and GET, and reads no body.
const PROBE: &[u8] = b"GET /v2/ HTTP/1.1\r\nHost: probe\r\n\r\n";

/// What the connection is after the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A further request is answered.
    Open,
    /// The server has closed it, and sent nothing after the answers.
    Closed,
}

/// One row: what is sent, and what comes back.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The sentence of the dialect that the row is about.
    pub(crate) name: &'static str,
    /// Everything the client sends.
    pub(crate) sent: Vec<u8>,
    /// The status of each answer, in order, interim ones included. `BODY` stands
    /// for the one of [`Target::body_status`].
    pub(crate) answers: Vec<u16>,
    pub(crate) end: End,
}

/// In a row's answers: whatever the server says to a body it has read.
pub(crate) const BODY: u16 = 0;

/// What differs between the servers that the table runs against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// A target of PUT that reads any body to its end before it answers.
    pub(crate) body_path: &'static str,
    /// What it answers to the bodies of the table.
    pub(crate) body_status: u16,
}

/// Runs every row on a connection of its own; returns what went wrong.
pub(crate) fn failures(target: &Target) -> Vec<String> {
    let check = |row: Row| {
        let outcome = check(target, &row);
        outcome.err().map(|error| format!("{}: {error}", row.name))
    };
    rows(target.body_path)
        .into_iter()
        .filter_map(check)
        .collect()
}

fn check(target: &Target, row: &Row) -> Result<(), String> {
    let mut client = Client::connect(target.address).map_err(|error| error.to_string())?;
    client.send(&row.sent);
    let is_head = row.sent.starts_with(b"HEAD ");
    let expected = row.answers.iter().map(|status| match *status {
        BODY => target.body_status,
        status => status,
    });
    let expected: Vec<u16> = expected.collect();
    let mut answers = Vec::new();
    for _ in &expected {
        let answer = client
            .answer(is_head)
            .map_err(|error| format!("wanted {expected:?}, had {answers:?}, then {error}"))?;
        answers.push(answer.status);
    }
    if answers != expected {
        return Err(format!("wanted {expected:?}, had {answers:?}"));
    }
    match row.end {
        End::Open => {
            client.send(PROBE);
            match client.answer(false) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("the connection should be open: {other:?}")),
            }
        }
        End::Closed => client.expect_end(),
    }
}

/// One answer, as far as the table looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A client that sends bytes as they are.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends; a server that has already answered and closed may not take it all.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self, is_to_head: bool) -> Result<Answer, String> {
        let head_end = loop {
            let end = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            self.receive()?;
        };
        let head = String::from_utf8(self.received.drain(..head_end).collect())
            .map_err(|error| error.to_string())?;
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no status line: {head:?}"))?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let has_body = !is_to_head && status != 100 && status != 204 && status != 304;
        let length = if has_body { length.unwrap_or(0) } else { 0 };
        while self.received.len() < length {
            self.receive()?;
        }
        let body = self.received.drain(..length).collect();
        Ok(Answer { status, head, body })
    }

    /// Reads to the end; nothing more may come.
    pub(crate) fn expect_end(&mut self) -> Result<(), String> {
        loop {
            if !self.received.is_empty() {
                let rest = self.received.escape_ascii();
                return Err(format!("bytes after the last answer: {rest}"));
            }
            match self.receive() {
                Ok(()) => {}
                Err(error) if error == ENDED => return Ok(()),
                Err(error) => return Err(format!("the connection should be closed: {error}")),
            }
        }
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ENDED.to_owned()),
            Ok(count) => {
                self.received.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(ENDED.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

const ENDED: &str = "the server closed the connection";
