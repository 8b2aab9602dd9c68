//! Which page a request asks for, and how an answer looks. Pure.

use serde_json::json;

use crate::http::{Method, ResponseHead, Status};
use crate::telemetry::METRICS_CONTENT_TYPE;

/// The pages of the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// `/metrics`.
    Metrics,
    /// `/livez`: the process runs and answers.
    Live,
    /// `/readyz`: clients can be served right now.
    Ready,
    /// `/startupz`: recovery is over.
    Started,
}

impl Page {
    /// Reads a method and a path.
    ///
    /// - Errors: the answer that says what is wrong.
    pub(super) fn parse(method: Method, path: &str) -> Result<Self, Answer> {
        let page = match path {
            "/metrics" => Self::Metrics,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/startupz" => Self::Started,
            _ => {
                let pages = "this door has /metrics, /livez, /readyz and /startupz";
                return Err(Answer::no(Status::NOT_FOUND, "not found", pages));
            }
        };
        if matches!(method, Method::Get | Method::Head) {
            return Ok(page);
        }
        let reason = "pages of this door are read only";
        let mut answer = Answer::no(Status::METHOD_NOT_ALLOWED, "not allowed", reason);
        answer.head = answer.head.with("Allow", "GET, HEAD");
        Err(answer)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// All is well.
    pub(super) fn yes() -> Self {
        Self::json(Status::OK, &json!({ "status": "ok" }))
    }

    /// Not now, or never.
    pub(super) fn no(status: Status, state: &str, reason: &str) -> Self {
        Self::json(status, &json!({ "status": state, "reason": reason }))
    }

    /// A rendered page of metrics.
    pub(super) fn metrics(page: String) -> Self {
        Self {
            head: head(Status::OK, METRICS_CONTENT_TYPE),
            body: page.into_bytes(),
        }
    }

    fn json(status: Status, value: &serde_json::Value) -> Self {
        Self {
            head: head(status, "application/json"),
            body: format!("{value}\n").into_bytes(),
        }
    }
}

/// What every answer says: its type, and that it is true only now.
fn head(status: Status, content_type: &str) -> ResponseHead {
    ResponseHead::new(status)
        .with("Content-Type", content_type)
        .with("Cache-Control", "no-store")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, path: &str) -> u16 {
        match Page::parse(method, path) {
            Ok(_) => 200,
            Err(answer) => answer.head.status().code(),
        }
    }

    #[test]
    fn pages_are_exact_and_read_only() {
        assert_eq!(Page::parse(Method::Get, "/readyz").ok(), Some(Page::Ready));
        assert_eq!(status(Method::Head, "/metrics"), 200);
        assert_eq!(status(Method::Post, "/metrics"), 405);
        assert_eq!(status(Method::Delete, "/livez"), 405);
        for path in ["/", "/metrics/", "/Metrics", "/readyz/x", "/v2/", "*"] {
            assert_eq!(status(Method::Get, path), 404, "{path}");
        }
    }

    #[test]
    fn a_reason_is_escaped() {
        let answer = Answer::no(Status::SERVICE_UNAVAILABLE, "unready", "disk \"a\"\n");
        let expected = "{\"reason\":\"disk \\\"a\\\"\\n\",\"status\":\"unready\"}\n";
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
    }
}
