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
    /// `/cluster`: every node.
    Cluster,
    /// `POST /cluster/…`: an operator's wish.
    Wish(Wish),
    /// `/tokens`: robots.
    Robot(RobotPage),
}

/// What an operator wants of robots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RobotPage {
    /// `/tokens`: every robot.
    List,
    /// `POST /tokens`: one more.
    Add,
    /// `POST /tokens/revoke`: one less.
    Revoke,
}

/// What an operator wants of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A token for one more machine.
    Add,
    /// A vote for a node that holds everything.
    Promote(u64),
    /// A vote for a node, whatever it lacks.
    ForcePromote(u64),
    /// No vote for a node.
    Demote(u64),
    /// No place for a node that is not missed.
    Remove(u64),
    /// No place for a node, whatever is lost with it.
    ForceRemove(u64),
    /// Nothing that leans on a node.
    Drain(u64),
    /// Another leader; the one with most of the log when none is named.
    TransferLeader(Option<u64>),
}

impl Wish {
    fn parse(name: &str, node: Option<&str>) -> Result<Self, Answer> {
        let number = node.map(str::parse::<u64>).transpose();
        let bad = |reason: &str| Answer::no(Status::BAD_REQUEST, "not understood", reason);
        let number = number.map_err(|_| bad("`node` is the number of a node"))?;
        let named = number.ok_or_else(|| bad("`node` is missing"));
        match name {
            "add" => Ok(Self::Add),
            "promote" => Ok(Self::Promote(named?)),
            "force-promote" => Ok(Self::ForcePromote(named?)),
            "demote" => Ok(Self::Demote(named?)),
            "drain" => Ok(Self::Drain(named?)),
            "remove" => Ok(Self::Remove(named?)),
            "force-remove" => Ok(Self::ForceRemove(named?)),
            "transfer-leader" => Ok(Self::TransferLeader(number)),
            _ => {
                let wishes = "there are add, promote, force-promote, demote, drain, remove, \
                              force-remove and transfer-leader";
                Err(Answer::no(Status::NOT_FOUND, "not found", wishes))
            }
        }
    }
}

impl Page {
    /// Reads a method, a path, and the query parameter `node`.
    ///
    /// - Errors: the answer that says what is wrong.
    pub(super) fn parse(method: Method, path: &str, node: Option<&str>) -> Result<Self, Answer> {
        if let Some(name) = path.strip_prefix("/cluster/") {
            let wish = Wish::parse(name, node)?;
            return if method == Method::Post {
                Ok(Self::Wish(wish))
            } else {
                Err(not_allowed("POST", "this changes the cluster"))
            };
        }
        let page = match path {
            "/tokens" if method == Method::Post => return Ok(Self::Robot(RobotPage::Add)),
            "/tokens/revoke" if method == Method::Post => {
                return Ok(Self::Robot(RobotPage::Revoke));
            }
            "/tokens/revoke" => return Err(not_allowed("POST", "this revokes a token")),
            "/tokens" => Self::Robot(RobotPage::List),
            "/metrics" => Self::Metrics,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/startupz" => Self::Started,
            "/cluster" => Self::Cluster,
            _ => {
                let pages =
                    "this door has /metrics, /livez, /readyz, /startupz, /cluster and /tokens";
                return Err(Answer::no(Status::NOT_FOUND, "not found", pages));
            }
        };
        if matches!(method, Method::Get | Method::Head) {
            return Ok(page);
        }
        Err(not_allowed("GET, HEAD", "this page is read only"))
    }
}

fn not_allowed(methods: &'static str, reason: &str) -> Answer {
    let mut answer = Answer::no(Status::METHOD_NOT_ALLOWED, "not allowed", reason);
    answer.head = answer.head.with("Allow", methods);
    answer
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

    /// A value.
    pub(super) fn json(status: Status, value: &serde_json::Value) -> Self {
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
        match Page::parse(method, path, Some("3")) {
            Ok(_) => 200,
            Err(answer) => answer.head.status().code(),
        }
    }

    #[test]
    fn pages_are_exact_and_read_only() {
        let ready = Page::parse(Method::Get, "/readyz", None);
        assert_eq!(ready.ok(), Some(Page::Ready));
        assert_eq!(status(Method::Head, "/metrics"), 200);
        assert_eq!(status(Method::Post, "/metrics"), 405);
        assert_eq!(status(Method::Delete, "/livez"), 405);
        for path in ["/", "/metrics/", "/Metrics", "/readyz/x", "/v2/", "*"] {
            assert_eq!(status(Method::Get, path), 404, "{path}");
        }
    }

    #[test]
    fn wishes_name_their_node_and_come_by_post() {
        let wish = |name: &str, node| {
            let page = Page::parse(Method::Post, &format!("/cluster/{name}"), node);
            page.map_err(|answer| answer.head.status().code())
        };
        assert_eq!(wish("add", None), Ok(Page::Wish(Wish::Add)));
        assert_eq!(wish("remove", Some("7")), Ok(Page::Wish(Wish::Remove(7))));
        let forced = Ok(Page::Wish(Wish::ForceRemove(7)));
        assert_eq!(wish("force-remove", Some("7")), forced);
        let forced = Ok(Page::Wish(Wish::ForcePromote(7)));
        assert_eq!(wish("force-promote", Some("7")), forced);
        let anyone = Page::Wish(Wish::TransferLeader(None));
        assert_eq!(wish("transfer-leader", None), Ok(anyone));
        assert_eq!(wish("remove", None), Err(400));
        assert_eq!(wish("remove", Some("all")), Err(400));
        assert_eq!(wish("explode", Some("7")), Err(404));
        assert_eq!(status(Method::Get, "/cluster/add"), 405);
        assert_eq!(status(Method::Post, "/cluster"), 405);
        assert_eq!(status(Method::Get, "/cluster"), 200);
    }

    #[test]
    fn tokens_are_listed_made_and_revoked() {
        let page = |method, path: &str| Page::parse(method, path, None).ok();
        assert_eq!(
            page(Method::Get, "/tokens"),
            Some(Page::Robot(RobotPage::List))
        );
        assert_eq!(
            page(Method::Post, "/tokens"),
            Some(Page::Robot(RobotPage::Add))
        );
        assert_eq!(
            page(Method::Post, "/tokens/revoke"),
            Some(Page::Robot(RobotPage::Revoke))
        );
        assert_eq!(status(Method::Get, "/tokens/revoke"), 405);
        assert_eq!(status(Method::Delete, "/tokens"), 405);
        assert_eq!(status(Method::Post, "/tokens/x"), 404);
    }

    #[test]
    fn a_reason_is_escaped() {
        let answer = Answer::no(Status::SERVICE_UNAVAILABLE, "unready", "disk \"a\"\n");
        let expected = "{\"reason\":\"disk \\\"a\\\"\\n\",\"status\":\"unready\"}\n";
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
    }
}
