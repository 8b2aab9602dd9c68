//! Streams of bytes against the events they make, whole and cut anywhere.

use proptest::prelude::*;

use super::*;
use crate::http::Method;

/// What a driver sees of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Head(Method, String),
    Continue,
    Body(Vec<u8>),
    Answer(Persistence),
    Refused(u16),
    Closed,
}

/// Drives a connection over `pieces` of a stream. A path that begins with
/// `/read` reads its body before it is answered, every other one is answered first.
fn drive(pieces: &[&[u8]]) -> Vec<Event> {
    let mut driver = Driver {
        connection: Connection::new(ConnectionBounds {
            drain_bytes_max: 64,
        }),
        received: Vec::new(),
        events: Vec::new(),
        step: Step::Head,
    };
    for piece in pieces {
        driver.received.extend_from_slice(piece);
        while driver.advance() {}
    }
    driver.events
}

struct Driver {
    connection: Connection,
    received: Vec<u8>,
    events: Vec<Event>,
    step: Step,
}

enum Step {
    Head,
    Body(Vec<u8>),
    Drain,
    Closed,
}

impl Driver {
    /// Makes one step; false when it needs more bytes.
    fn advance(&mut self) -> bool {
        match &mut self.step {
            Step::Closed => false,
            Step::Head => match self.connection.take_head(&self.received) {
                Ok(None) => false,
                Ok(Some((head, taken))) => {
                    self.received.drain(..taken);
                    let event = Event::Head(head.method(), head.path().to_owned());
                    self.events.push(event);
                    if head.path().starts_with("/read") {
                        if self.connection.take_continue() {
                            self.events.push(Event::Continue);
                        }
                        self.step = Step::Body(Vec::new());
                    } else {
                        self.answer();
                    }
                    true
                }
                Err(refusal) => self.refuse(refusal),
            },
            Step::Body(body) => {
                let length = self.received.len();
                match self.connection.decode(&mut self.received) {
                    Ok(decoded) => {
                        body.extend_from_slice(&self.received[..decoded.produced]);
                        self.received.drain(..decoded.consumed);
                        if decoded.is_end {
                            let body = std::mem::take(body);
                            self.events.push(Event::Body(body));
                            self.answer();
                            return true;
                        }
                        assert_eq!(decoded.consumed, length);
                        false
                    }
                    Err(refusal) => self.refuse(refusal),
                }
            }
            Step::Drain if self.received.is_empty() => false,
            Step::Drain => {
                let (taken, after) = self.connection.drain(&mut self.received);
                self.received.drain(..taken);
                self.follow(after);
                true
            }
        }
    }

    fn answer(&mut self) {
        let persistence = self.connection.answer(false);
        self.events.push(Event::Answer(persistence));
        let after = self.connection.after_answer();
        self.follow(after);
    }

    fn follow(&mut self, after: After) {
        self.step = match after {
            After::NextHead => Step::Head,
            After::Drain => Step::Drain,
            After::Close => {
                self.events.push(Event::Closed);
                Step::Closed
            }
        };
    }

    fn refuse(&mut self, refusal: Refusal) -> bool {
        self.events.push(Event::Refused(refusal.status.code()));
        self.events.push(Event::Closed);
        self.step = Step::Closed;
        true
    }
}

fn events_of(stream: &str) -> Vec<Event> {
    drive(&[stream.as_bytes()])
}

/// The last events of a stream, as text, for short rows.
fn answers_of(stream: &str) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Answer(Persistence::KeepAlive) => Some("keep-alive"),
        Event::Answer(Persistence::Close) => Some("close"),
        Event::Refused(_) => Some("refused"),
        Event::Closed => Some("closed"),
        Event::Continue => Some("continue"),
        Event::Head(..) | Event::Body(_) => None,
    };
    events_of(stream).iter().filter_map(name).collect()
}

#[test]
fn pipelined_requests_come_out_in_order_with_their_bodies() {
    let stream = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n\
                  PUT /read/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
                  PUT /read/2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
                  GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /c HTTP/1.1\r\n";
    let head = |method, path: &str| Event::Head(method, path.to_owned());
    let keep_alive = Event::Answer(Persistence::KeepAlive);
    let expected = [
        head(Method::Get, "/a"),
        keep_alive.clone(),
        head(Method::Put, "/read/1"),
        Event::Body(b"abc".to_vec()),
        keep_alive.clone(),
        head(Method::Put, "/read/2"),
        Event::Body(b"de".to_vec()),
        keep_alive,
        head(Method::Get, "/b"),
        Event::Answer(Persistence::Close),
        Event::Closed,
    ];
    assert_eq!(events_of(stream), expected);
}

fn unread(length: usize, lines: &str) -> String {
    let body = "x".repeat(length);
    format!(
        "PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{lines}\r\n{body}\
         GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
    )
}

#[test]
fn an_unread_body_is_drained_up_to_the_bound_and_never_parsed() {
    assert_eq!(answers_of(&unread(64, "")), ["keep-alive", "keep-alive"]);
    assert_eq!(answers_of(&unread(65, "")), ["close", "closed"]);
    let chunked = |data: &str| {
        format!(
            "PUT /early HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{data}\
             GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
        )
    };
    let fits = format!("34\r\n{}\r\n0\r\n\r\n", "x".repeat(0x34));
    assert_eq!(answers_of(&chunked(&fits)), ["keep-alive", "keep-alive"]);
    let over = format!("3a\r\n{}\r\n0\r\n\r\n", "x".repeat(0x3a));
    assert_eq!(answers_of(&chunked(&over)), ["keep-alive", "closed"]);
    assert_eq!(answers_of(&chunked("z\r\n")), ["keep-alive", "closed"]);
}

#[test]
fn continue_is_sent_once_and_only_for_a_body_that_is_read() {
    let read =
        "PUT /read HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(answers_of(read), ["continue", "keep-alive"]);
    let early = unread(2, "Expect: 100-continue\r\n");
    assert_eq!(answers_of(&early), ["close", "closed"]);
    let empty = "PUT /read HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(answers_of(empty), ["keep-alive"]);
}

#[test]
fn a_refusal_ends_the_stream() {
    let stream = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(answers_of(stream), ["keep-alive", "refused", "closed"]);
    let chunk = "PUT /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n";
    assert_eq!(answers_of(chunk), ["refused", "closed"]);
}

/// Requests and near-requests, to be glued into streams.
fn request() -> impl Strategy<Value = String> {
    let body = "[a-z]{0,90}";
    let line = prop_oneof![
        Just("GET /a"),
        Just("PUT /read/x"),
        Just("PATCH /early"),
        Just("BREW /a"),
        Just("TRACE /"),
    ];
    let fields = prop_oneof![
        6 => Just("Host: h\r\n"),
        1 => Just(""),
        1 => Just("Host: h\r\nExpect: 100-continue\r\n"),
        1 => Just("Host: h\r\nBad : x\r\n"),
        1 => Just("Host: h\r\nBad: x\n"),
        1 => Just("Host: h\r\nConnection: close\r\n"),
    ];
    (line, fields, body, 0_u8..5).prop_map(|(line, fields, body, framing)| {
        let head = format!("{line} HTTP/1.1\r\n{fields}");
        let length = body.len();
        match framing {
            0 => format!("{head}\r\n"),
            1 => format!("{head}Content-Length: {length}\r\n\r\n{body}"),
            2 if length > 0 => format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\nT: u\r\n\r\n"
            ),
            2 | 3 => format!("\r\n{head}Transfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\n\r\n"),
            _ => format!("{head}Content-Length: {length}, 1\r\n\r\n{body}"),
        }
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        requests in prop::collection::vec(request(), 1..6),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut stream = requests.concat().into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        let whole = drive(&[&stream]);
        prop_assert_eq!(&whole, &drive(&pieces));
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(&whole, &drive(&bytes));
    }
}
