//! Who changed what: one line in the log for each push and delete.

use std::net::IpAddr;

use super::answer::Handled;
use crate::auth::Needed;
use crate::exchange::Exchange;
use crate::guard::Pass;
use crate::http::{Method, Status};

/// Where the digest of what was pushed stands in an answer.
const DIGEST_HEADER: &str = "Docker-Content-Digest";

/// Writes down a request that changed something, or was to: a manifest or a blob was
/// pushed, mounted or deleted. Reads, and parts of an upload, are in the access log.
pub(super) fn audit(
    exchange: &Exchange,
    client: IpAddr,
    (pass, needed): (&Pass, &Needed<'_>),
    handled: &Handled,
) {
    let head = exchange.head();
    let status = match handled {
        Ok(answer) => answer.status,
        Err(failure) => failure.status(),
    };
    if !is_change(head.method(), status, needed) {
        return;
    }
    let digest = match handled {
        Ok(answer) => answer
            .headers
            .iter()
            .find(|(name, _)| *name == DIGEST_HEADER),
        Err(_) => None,
    };
    tracing::info!(
        target: "windlass::audit",
        request_id = %exchange.request_id(),
        user = pass.name().unwrap_or("-"),
        robot = pass.robot_id().as_deref().unwrap_or("-"),
        %client,
        allowed_by = pass.reason(needed),
        method = head.method().as_str(),
        path = head.path(),
        digest = digest.map_or("-", |(_, digest)| digest),
        status = status.code(),
    );
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
