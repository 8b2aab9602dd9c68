//! A small blocking HTTP/1.1 client that says exactly what it is told to.
//!
//! It adds `Host` and the framing header and nothing else, keeps every header
//! line in order, and shows every line of the answer: what a real client
//! library would repair, the tests want to see.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::gathered;

/// A silent server fails the test after this time.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest answer head that the client accepts.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one chunk of a chunked body.
const CHUNK_BYTES: usize = 40_000;

/// How the body travels.
#[derive(Clone)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<u8>),
}

/// One request, built by chaining.
#[derive(Clone)]
pub(crate) struct Request {
    /// Method, as sent.
    pub(crate) method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    /// A request with no body and no header of its own.
    pub(crate) fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Body::None,
        }
    }

    /// Adds one header line after those already there.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Gives the request a body with `Content-Length`.
    pub(crate) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Length(bytes.into());
        self
    }

    /// Gives the request a body in chunked encoding.
    pub(crate) fn chunked(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Chunked(bytes.into());
        self
    }

    /// The head as sent, framing header and final empty line included.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut lines = vec![format!("{} {} HTTP/1.1", self.method, self.target)];
        if !self.has("host") {
            lines.push("Host: registry.test".to_owned());
        }
        for (name, value) in &self.headers {
            lines.push(format!("{name}: {value}"));
        }
        let takes_body = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        match &self.body {
            Body::None if takes_body && !self.has("content-length") => {
                lines.push("Content-Length: 0".to_owned());
            }
            Body::None => {}
            Body::Length(bytes) => lines.push(format!("Content-Length: {}", bytes.len())),
            Body::Chunked(_) => lines.push("Transfer-Encoding: chunked".to_owned()),
        }
        lines.push("\r\n".to_owned());
        lines.join("\r\n").into_bytes()
    }

    /// The body as sent, chunk framing included.
    pub(crate) fn body_bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Length(bytes) => bytes.clone(),
            Body::Chunked(bytes) => {
                let mut framed = Vec::with_capacity(bytes.len() + 1024);
                for chunk in bytes.chunks(CHUNK_BYTES) {
                    framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    framed.extend_from_slice(chunk);
                    framed.extend_from_slice(b"\r\n");
                }
                framed.extend_from_slice(b"0\r\n\r\n");
                framed
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        let mut names = self.headers.iter().map(|(held, _)| held);
        names.any(|held| held.eq_ignore_ascii_case(name))
    }
}

/// One complete answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status code of the final answer.
    pub(crate) status: u16,
    /// Every header line, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body; empty for HEAD.
    pub(crate) body: Vec<u8>,
    /// Whether `100 Continue` came first.
    pub(crate) was_continued: bool,
    /// Method and target of the request, for messages.
    pub(crate) about: String,
}

impl Response {
    /// Passes the answer on if it has `status`, else fails with all of it.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        self.expect_any(&[status])
    }

    /// Passes the answer on if it has one of `statuses`.
    #[track_caller]
    pub(crate) fn expect_any(self, statuses: &[u16]) -> Self {
        assert!(
            statuses.contains(&self.status),
            "{}: got {}, want {statuses:?}\n{:#?}\n{}",
            self.about,
            self.status,
            self.headers,
            String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]),
        );
        self
    }

    /// Passes the answer on if its first error has one of `codes`.
    #[track_caller]
    pub(crate) fn says(self, codes: &[&str]) -> Self {
        let code = self.code();
        let body = String::from_utf8_lossy(&self.body);
        assert!(
            codes.contains(&code.as_str()),
            "{}: got {} `{code}`, want one of {codes:?}: {body}",
            self.about,
            self.status,
        );
        self
    }

    /// The value of the first header line called `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// The value of header `name`, which must be there once.
    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(
            values.len(),
            1,
            "{}: {name} in {:#?}",
            self.about,
            self.headers
        );
        values[0]
    }

    /// The values of every header line called `name`, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter();
        lines
            .filter(|(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: body is no JSON: {error}", self.about))
    }

    /// The code of the first error in the body; empty when there is none.
    pub(crate) fn code(&self) -> String {
        let parsed: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        parsed["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The target of the `Link` header with `rel="next"`.
    #[track_caller]
    pub(crate) fn next_page(&self) -> Option<String> {
        let link = self.header("Link")?;
        let (target, parameters) = link.split_once(';').expect("a Link has parameters");
        assert!(parameters.contains("rel=\"next\""), "{link}");
        let target = target
            .trim()
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'));
        let target = target.expect("a Link target stands in angle brackets");
        assert!(target.starts_with('/'), "a Link is relative: {link}");
        Some(target.to_owned())
    }
}

/// One connection, opened when first needed and again after the server closed it.
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    /// Bytes received and not yet consumed.
    held: Vec<u8>,
    /// How long the server may be silent.
    patience: Duration,
}

impl Client {
    /// A client of the server at `address`; connects with the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            held: Vec::new(),
            patience: SILENCE_MAX,
        }
    }

    /// As [`Client::new`], giving up sooner.
    pub(crate) fn with_patience(address: SocketAddr, patience: Duration) -> Self {
        Self {
            patience,
            ..Self::new(address)
        }
    }

    /// Where it connects to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a connection is open as far as this side knows.
    pub(crate) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends one request and reads its answer; a broken exchange fails the test.
    #[track_caller]
    pub(crate) fn send(&mut self, request: &Request) -> Response {
        self.try_send(request).unwrap_or_else(|error| {
            panic!("{} {}: {error}", request.method, request.target);
        })
    }

    /// Sends one request and reads its answer.
    ///
    /// An answer that comes before the body is sent is read all the same.
    pub(crate) fn try_send(&mut self, request: &Request) -> io::Result<Response> {
        gathered::request(&request.target, &request.headers, || request.body_bytes());
        let mut message = request.head_bytes();
        message.extend_from_slice(&request.body_bytes());
        let sent = self.write(&message);
        let about = format!("{} {}", request.method, request.target);
        match (self.read_response(&about), sent) {
            (Ok(response), _) => {
                gathered::answer(&request.target, &response);
                Ok(response)
            }
            (Err(_), Err(error)) | (Err(error), Ok(())) => {
                self.close();
                Err(error)
            }
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream()?.write_all(bytes)
    }

    /// Closes the connection; the next request opens another.
    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.held.clear();
    }

    /// Changes how long a silent server is waited for.
    pub(crate) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.stream()?.set_read_timeout(Some(patience))
    }

    /// Reads one answer; `about` starts with the method it answers.
    pub(crate) fn read_response(&mut self, about: &str) -> io::Result<Response> {
        let mut response = self.read_head(about)?;
        let has_body =
            !about.starts_with("HEAD ") && response.status != 204 && response.status != 304;
        let length = response.header("Content-Length").map(str::to_owned);
        if let (true, Some(length)) = (has_body, length) {
            let length: usize = length.parse().map_err(|_| broken("Content-Length"))?;
            response.body = vec![0; length];
            let mut body = std::mem::take(&mut response.body);
            self.read_exact(&mut body)?;
            response.body = body;
        } else if has_body && response.header("Connection") != Some("close") {
            return Err(broken("an answer with a body and no Content-Length"));
        }
        if response.header("Connection") == Some("close") {
            self.close();
        }
        Ok(response)
    }

    /// Reads the head of an answer, after any interim ones; the body is left to
    /// [`Client::read_some`].
    pub(crate) fn read_head(&mut self, about: &str) -> io::Result<Response> {
        let mut was_continued = false;
        loop {
            let head = self.read_head_bytes()?;
            let text = String::from_utf8(head).map_err(|_| broken("a head outside UTF-8"))?;
            let (status, headers) = parse_head(&text)?;
            if status == 100 {
                was_continued = true;
                continue;
            }
            return Ok(Response {
                status,
                headers,
                body: Vec::new(),
                was_continued,
                about: about.to_owned(),
            });
        }
    }

    /// Reads what is there, at least one byte; 0 at the end of the connection.
    pub(crate) fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            return self.stream()?.read(into);
        }
        let count = self.held.len().min(into.len());
        into[..count].copy_from_slice(&self.held[..count]);
        self.held.drain(..count);
        Ok(count)
    }

    /// Whether the server closes the connection without a further byte.
    pub(crate) fn is_closed_by_server(&mut self) -> bool {
        let mut byte = [0];
        match self.read_some(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
            ),
        }
    }

    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.patience))?;
            stream.set_write_timeout(Some(self.patience))?;
            self.stream = Some(stream);
            self.held.clear();
        }
        self.stream.as_mut().ok_or_else(|| broken("no stream"))
    }

    fn read_head_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = [0; 8192];
        loop {
            let end = self.held.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                return Ok(self.held.drain(..end + 4).collect());
            }
            if self.held.len() > HEAD_BYTES_MAX {
                return Err(broken("a head without end"));
            }
            let count = self.stream()?.read(&mut piece)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.held.extend_from_slice(&piece[..count]);
        }
    }

    fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read_some(&mut into[filled..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }
}

/// Splits a head into its status and its header lines.
fn parse_head(text: &str) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| broken(status_line))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| broken(line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok((status, headers))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("not an HTTP answer: {what}"),
    )
}
