//! One kept HTTP/1.1 connection, as plain as a client can be.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Room for an answer's head, and the piece in which bodies are read.
const READ_BYTES: usize = 1 << 20;
/// A server that says nothing for this long has failed the measurement.
const SILENCE_SECONDS_MAX: u64 = 60;

/// What came back before the body.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// `Location`, reduced to path and query.
    pub(crate) location: Option<String>,
    length: u64,
}

/// A connection and what was read from it beyond the last head.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
}

impl Connection {
    /// Connects; the connection is kept over any number of requests.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(SILENCE_SECONDS_MAX)))?;
        Ok(Self {
            stream,
            buffer: vec![0; READ_BYTES],
            unread: 0..0,
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request without a body and reads the answer with its body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, wanted: u16) -> io::Result<Answer> {
        self.send(head(method, path, "Content-Length: 0\r\n").as_bytes())?;
        self.finish(wanted)
    }

    /// Reads an answer and drops its body.
    ///
    /// - Errors: a status other than the wanted one.
    pub(crate) fn finish(&mut self, wanted: u16) -> io::Result<Answer> {
        let answer = self.answer(wanted)?;
        self.skip_body(&answer)?;
        Ok(answer)
    }

    /// Reads an answer's head.
    ///
    /// - Errors: a status other than the wanted one, a head that does not fit.
    pub(crate) fn answer(&mut self, wanted: u16) -> io::Result<Answer> {
        let mut held = self.unread.len();
        self.buffer.copy_within(self.unread.clone(), 0);
        let end = loop {
            if let Some(at) = find(&self.buffer[..held], b"\r\n\r\n") {
                break at + 4;
            }
            match self.stream.read(&mut self.buffer[held..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => held += count,
            }
        };
        self.unread = end..held;
        let text = String::from_utf8_lossy(&self.buffer[..end]);
        let answer = parse(&text).ok_or_else(|| io::Error::other(format!("no answer: {text}")))?;
        if answer.status == wanted {
            Ok(answer)
        } else {
            Err(io::Error::other(format!("wanted {wanted}, got {text}")))
        }
    }

    /// Reads the body to its end and returns its length.
    pub(crate) fn skip_body(&mut self, answer: &Answer) -> io::Result<u64> {
        let mut left = answer.length;
        while left > 0 {
            left -= self.take(left)?;
        }
        Ok(answer.length)
    }

    /// Reads one piece of at most `bytes_max` of a body and returns its length.
    pub(crate) fn take(&mut self, bytes_max: u64) -> io::Result<u64> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let count = if self.unread.is_empty() {
            let end = self.buffer.len().min(bytes_max);
            self.stream.read(&mut self.buffer[..end])?
        } else {
            let count = self.unread.len().min(bytes_max);
            self.unread.start += count;
            count
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

/// A request's head; `headers` are whole lines.
pub(crate) fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: load\r\nAccept: */*\r\n{headers}\r\n")
}

fn parse(text: &str) -> Option<Answer> {
    let mut lines = text.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer {
        status,
        location: None,
        length: 0,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            answer.length = value.trim().parse().ok()?;
        } else if name.eq_ignore_ascii_case("location") {
            answer.location = Some(path_of(value.trim()));
        }
    }
    Some(answer)
}

/// The path and query of an absolute or relative address.
fn path_of(address: &str) -> String {
    match address.strip_prefix("http://") {
        Some(rest) => rest
            .find('/')
            .map_or("/", |at| rest.split_at(at).1)
            .to_owned(),
        None => address.to_owned(),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
