//! Who did what: one line for each push and delete, and, where operators want them, for
//! each request that was not let in and each token that was made.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::answer::Handled;
use super::failure::Failure;
use super::route::Route;
use crate::auth::{Actions, Fault, Needed, Scope};
use crate::base::Clock;
use crate::exchange::Exchange;
use crate::guard::{Granted, Named, Pass, Refused};
use crate::http::{Method, Status, utc_time};
use crate::oci::Reference;
use crate::telemetry::{AuditLevel, AuditLog};

/// Where the digest of what was pushed stands in an answer.
const DIGEST_HEADER: &str = "Docker-Content-Digest";

/// What a line says beside what its request does.
#[derive(Debug, Default)]
struct Line {
    event: &'static str,
    named: Named,
    digest: Option<String>,
    /// Which rule allowed it.
    allowed_by: Option<String>,
    /// Why it was not done.
    reason: Option<String>,
    status: Option<u16>,
    /// Which entry of the journal did it.
    journal_index: Option<u64>,
    /// What a token gives.
    scopes: Option<String>,
    needed: Option<String>,
}

/// Writes down what comes of requests. One per shard.
#[derive(Debug, Clone)]
pub(super) struct Audit(AuditLog);

impl Audit {
    pub(super) const fn new(log: AuditLog) -> Self {
        Self(log)
    }

    /// Writes down a request that changed something, or was to: a manifest or a blob was
    /// pushed, mounted or deleted. Reads, and parts of an upload, are in the access log.
    pub(super) fn handled(
        &self,
        exchange: &Exchange,
        route: &Route,
        (pass, needed): (&Pass, &Needed<'_>),
        handled: &Handled,
    ) {
        let status = match handled {
            Ok(answer) => answer.status,
            Err(failure) => failure.status(),
        };
        if !is_change(exchange.head().method(), status, needed) {
            return;
        }
        let digest = handled.as_ref().ok().and_then(|answer| {
            let mut headers = answer.headers.iter();
            headers.find_map(|(name, value)| (*name == DIGEST_HEADER).then(|| value.to_string()))
        });
        let line = Line {
            event: "change",
            named: pass.named(),
            digest: digest.or_else(|| digest_of(route)),
            allowed_by: Some(pass.reason(&given(route, pass, needed))),
            reason: handled.as_ref().err().map(Failure::reason),
            status: Some(status.code()),
            journal_index: handled.as_ref().ok().and_then(|one| one.journal_index),
            ..Line::default()
        };
        self.write(exchange, Some(route), &line);
    }

    /// Writes down a request that was not let in.
    pub(super) fn refused(
        &self,
        exchange: &Exchange,
        route: &Route,
        needed: &Needed<'_>,
        refused: &Refused,
    ) {
        if !self.0.wants(AuditLevel::Refusals) {
            return;
        }
        let named = match refused {
            Refused::Challenged { named, .. } | Refused::Denied { named, .. } => named.clone(),
            Refused::Crowded | Refused::Limited(_) | Refused::Unready => Named::default(),
        };
        let (status, reason) = match refused {
            Refused::Challenged { fault, .. } => {
                let reason = match fault {
                    Fault::Missing => "no credentials",
                    Fault::Invalid => "bad credentials",
                    Fault::Insufficient => "the token does not give it",
                };
                (Status::UNAUTHORIZED, reason.to_owned())
            }
            Refused::Denied { rules, .. } => {
                let reason = match rules {
                    Some(rules) => format!("none of {rules} rules gives it"),
                    None => "the robot was not given it".to_owned(),
                };
                (Status::FORBIDDEN, reason)
            }
            Refused::Crowded => {
                let reason = "too many logins wait".to_owned();
                (Status::TOO_MANY_REQUESTS, reason)
            }
            Refused::Unready => {
                let reason = "the keys to check it with are not there".to_owned();
                (Status::SERVICE_UNAVAILABLE, reason)
            }
            // Whoever asks too much would fill the disk by it; they are counted.
            Refused::Limited(_) => return,
        };
        let line = Line {
            event: "refusal",
            named,
            digest: digest_of(route),
            reason: Some(reason),
            status: Some(status.code()),
            needed: needed.scope().as_ref().map(Scope::to_string),
            ..Line::default()
        };
        self.write(exchange, Some(route), &line);
    }

    /// Writes down a login that got no token.
    pub(super) fn ungranted(&self, exchange: &Exchange, status: Status, reason: &str) {
        if !self.0.wants(AuditLevel::Refusals) {
            return;
        }
        let line = Line {
            event: "refusal",
            reason: Some(reason.to_owned()),
            status: Some(status.code()),
            ..Line::default()
        };
        self.write(exchange, None, &line);
    }

    /// Writes down that a token was made, and not the token.
    pub(super) fn granted(&self, exchange: &Exchange, granted: &Granted) {
        if !self.0.wants(AuditLevel::All) {
            return;
        }
        let scopes: Vec<_> = granted.scopes.iter().map(Scope::to_string).collect();
        let line = Line {
            event: "token",
            named: granted.named.clone(),
            allowed_by: Some(granted.allowed_by.clone()).filter(|by| !by.is_empty()),
            status: Some(Status::OK.code()),
            scopes: Some(scopes.join(" ")),
            ..Line::default()
        };
        self.write(exchange, None, &line);
    }

    fn write(&self, exchange: &Exchange, route: Option<&Route>, line: &Line) {
        let client = exchange.client_address();
        let now_ms = Clock::system().unix_ms();
        let object = object(exchange, (route, client), line, now_ms);
        if self.0.has_file() {
            self.0.write(Value::Object(object).to_string());
            return;
        }
        // The same members, as far as a log has them: tags are one text there.
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let tags = object.get("tags").and_then(Value::as_array).map(|tags| {
            let tags: Vec<_> = tags.iter().filter_map(Value::as_str).collect();
            tags.join(",")
        });
        tracing::info!(
            target: "windlass::audit",
            event = line.event,
            request_id = text("request_id"),
            user = text("user"),
            user_of = text("user_of"),
            robot = text("robot"),
            certificate = text("certificate"),
            client = text("client"),
            method = text("method"),
            path = text("path"),
            repository = text("repository"),
            tags,
            digest = text("digest"),
            source = text("source"),
            needed = text("needed"),
            allowed_by = text("allowed_by"),
            reason = text("reason"),
            scopes = text("scopes"),
            status = line.status,
            journal_index = line.journal_index,
        );
    }
}

/// The line as JSON; what says nothing is left out. JSON escapes what clients wrote.
fn object(
    exchange: &Exchange,
    (route, client): (Option<&Route>, IpAddr),
    line: &Line,
    now_ms: u64,
) -> Map<String, Value> {
    let head = exchange.head();
    let time = utc_time(now_ms / 1000);
    let time = format!("{}.{:03}Z", time.trim_end_matches('Z'), now_ms % 1000);
    let tags: Vec<&str> = match route {
        Some(Route::Manifest(_, Reference::Tag(tag))) => vec![tag.as_str()],
        Some(Route::Manifest(..)) => head.query().values("tag").collect(),
        _ => Vec::new(),
    };
    let mounted = head.query().value("mount");
    let members = [
        ("time", json!(time)),
        ("event", json!(line.event)),
        ("request_id", json!(exchange.request_id().as_str())),
        ("user", json!(line.named.user)),
        ("user_of", json!(line.named.user_of)),
        ("robot", json!(line.named.robot)),
        ("certificate", json!(exchange.client_name())),
        ("client", json!(client)),
        ("method", json!(head.method().as_str())),
        ("path", json!(head.path())),
        ("repository", json!(route.and_then(Route::repository))),
        (
            "tags",
            if tags.is_empty() {
                Value::Null
            } else {
                json!(tags)
            },
        ),
        ("digest", json!(line.digest)),
        (
            "source",
            json!(mounted.and_then(|_| head.query().value("from"))),
        ),
        ("needed", json!(line.needed)),
        ("allowed_by", json!(line.allowed_by)),
        ("reason", json!(line.reason)),
        ("scopes", json!(line.scopes)),
        ("status", json!(line.status)),
        ("journal_index", json!(line.journal_index)),
    ];
    let said = members.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn digest_of(route: &Route) -> Option<String> {
    match route {
        Route::Blob(_, digest)
        | Route::Manifest(_, Reference::Digest(digest))
        | Route::Referrers(_, digest) => Some(digest.to_string()),
        Route::Base
        | Route::Token
        | Route::Catalog
        | Route::Manifest(_, Reference::Tag(_))
        | Route::Uploads(_)
        | Route::Upload(..)
        | Route::Tags(_) => None,
    }
}

/// What a change was allowed by: whoever may move tags did not need the right to make
/// them alone.
fn given<'a>(route: &'a Route, pass: &Pass, needed: &Needed<'a>) -> Needed<'a> {
    match (route, needed) {
        (Route::Manifest(name, _), Needed::Repository(_, actions))
            if Actions::PUSH.contains(*actions) && pass.may(name, Actions::PUSH) =>
        {
            Needed::Repository(name.as_str(), Actions::PUSH)
        }
        _ => *needed,
    }
}

/// Whether a request of a repository changes what it holds: a POST does when it takes
/// a whole blob or mounts one.
fn is_change(method: Method, status: Status, needed: &Needed<'_>) -> bool {
    let is_of_repository = matches!(needed, Needed::Repository(..));
    is_of_repository
        && match method {
            Method::Put | Method::Delete => true,
            Method::Post => status == Status::CREATED,
            Method::Get | Method::Head | Method::Patch => false,
        }
}
