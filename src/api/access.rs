//! What each request needs: the one table of routes, methods and rights.

use super::failure::Failure;
use super::route::Route;
use crate::auth::{Actions, Fault, Needed};
use crate::guard::Refused;
use crate::http::{Method, Status};
use crate::oci::{ErrorCode, Reference, Repository};
use crate::quota::Exceeded;
use crate::telemetry::Limit;

/// Seconds a client should wait before it shows its password again.
const RETRY_AFTER_SECONDS: &str = "2";

/// What a request needs; `None` for a method that the route does not have. Every route
/// and every method stands here: what is added elsewhere does not compile before
/// somebody decides.
///
/// A push by digest needs no right on tags; which one a push by tag needs is the
/// journal's to say, because it depends on whether the tag exists.
pub(super) fn needed<'a>(route: &'a Route, method: Method) -> Option<Needed<'a>> {
    use Method::{Delete, Get, Head, Patch, Post, Put};
    let on = |name: &'a Repository, actions| Some(Needed::Repository(name.as_str(), actions));
    match route {
        Route::Base => match method {
            Get | Head => Some(Needed::Credentials),
            Post | Put | Patch | Delete => None,
        },
        Route::Catalog => match method {
            Get | Head => Some(Needed::Catalog),
            Post | Put | Patch | Delete => None,
        },
        Route::Token => match method {
            Get | Post => Some(Needed::Nothing),
            Head | Put | Patch | Delete => None,
        },
        Route::Tags(name) | Route::Referrers(name, _) => match method {
            Get | Head => on(name, Actions::PULL),
            Post | Put | Patch | Delete => None,
        },
        Route::Blob(name, _) => match method {
            Get | Head => on(name, Actions::PULL),
            Delete => on(name, Actions::DELETE),
            Post | Put | Patch => None,
        },
        Route::Manifest(name, reference) => match (method, reference) {
            (Get | Head, _) => on(name, Actions::PULL),
            (Put, Reference::Digest(_)) => on(name, Actions::STORE),
            (Put, Reference::Tag(_)) => on(name, Actions::TAG_CREATE),
            (Delete, _) => on(name, Actions::DELETE),
            (Post | Patch, _) => None,
        },
        Route::Uploads(name) => match method {
            Post => on(name, Actions::STORE),
            Get | Head | Put | Patch | Delete => None,
        },
        Route::Upload(name, _) => match method {
            Get | Head | Patch | Put | Delete => on(name, Actions::STORE),
            Post => None,
        },
    }
}

/// The value of `Allow` for a route.
pub(super) const fn allowed(route: &Route) -> &'static str {
    match route {
        Route::Base | Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET, HEAD",
        Route::Blob(..) => "GET, HEAD, DELETE",
        Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Route::Uploads(_) => "POST",
        Route::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        Route::Token => "GET, POST",
    }
}

impl From<Refused> for Failure {
    /// Says what would do, and nothing about what is there.
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Challenged {
                fault, challenge, ..
            } => {
                let (code, message) = match fault {
                    Fault::Missing => (ErrorCode::Unauthorized, "authentication is required"),
                    Fault::Invalid => (ErrorCode::Unauthorized, "the credentials are not valid"),
                    Fault::Insufficient => (ErrorCode::Denied, "the token does not allow this"),
                };
                Self::new(Status::UNAUTHORIZED, code, message).with("WWW-Authenticate", challenge)
            }
            Refused::Denied { .. } => {
                let message = "the user may not do this";
                Self::new(Status::FORBIDDEN, ErrorCode::Denied, message)
            }
            Refused::Crowded => crowded(),
            Refused::Limited(exceeded) => limited(exceeded),
            Refused::Unready => unready(),
        }
    }
}

/// 429: passwords wait to be checked, and this one does not.
pub(super) fn crowded() -> Failure {
    let message = "too many logins are waiting here or from this address, try again";
    let status = Status::TOO_MANY_REQUESTS;
    Failure::new(status, ErrorCode::TooManyRequests, message)
        .with("Retry-After", RETRY_AFTER_SECONDS)
}

/// 429: the client has as much as it may have. Says nothing that tells a user who is
/// there from one who is not.
pub(super) fn limited(exceeded: Exceeded) -> Failure {
    let message = match exceeded.limit {
        Limit::AddressRate => "too many requests from this address",
        Limit::AddressUploads => "too many uploads from this address at a time",
        Limit::AddressLogins => "too many wrong passwords from this address",
        Limit::SubjectRate => "too many requests of this user",
        Limit::SubjectUploads => "too many uploads of this user at a time",
        Limit::SubjectLogins => "too many wrong passwords for this user",
    };
    let status = Status::TOO_MANY_REQUESTS;
    let whole_seconds = exceeded.wait.as_millis().div_ceil(1000).max(1);
    Failure::new(status, ErrorCode::TooManyRequests, message)
        .with("Retry-After", whole_seconds.to_string())
}

/// 503: the keys that would tell who this is are not there.
pub(super) fn unready() -> Failure {
    let message = "the keys of the token issuer are not there yet, try again";
    let status = Status::SERVICE_UNAVAILABLE;
    Failure::new(status, ErrorCode::Unsupported, message).with("Retry-After", RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn methods_that_are_allowed_are_those_of_the_table() {
        for path in [
            "/v2/".to_owned(),
            "/v2/_catalog".to_owned(),
            "/token".to_owned(),
            "/v2/a/tags/list".to_owned(),
            format!("/v2/a/referrers/{DIGEST}"),
            format!("/v2/a/blobs/{DIGEST}"),
            format!("/v2/a/manifests/{DIGEST}"),
            "/v2/a/manifests/tag".to_owned(),
            "/v2/a/blobs/uploads/".to_owned(),
            "/v2/a/blobs/uploads/x".to_owned(),
        ] {
            let route = Route::parse(&path).unwrap();
            for method in Method::ALL {
                let is_allowed = allowed(&route)
                    .split(", ")
                    .any(|allowed| allowed == method.as_str());
                let is_needed = needed(&route, method).is_some();
                assert_eq!(is_needed, is_allowed, "{path} {method:?}");
            }
        }
    }

    #[test]
    fn nothing_but_tokens_is_free() {
        let route = Route::parse("/v2/").unwrap();
        assert_eq!(needed(&route, Method::Get), Some(Needed::Credentials));
        assert_eq!(needed(&Route::Token, Method::Get), Some(Needed::Nothing));
        let route = Route::parse("/v2/a/manifests/tag").unwrap();
        let pull = Needed::Repository("a", Actions::PULL);
        assert_eq!(needed(&route, Method::Get), Some(pull));
        let push = Needed::Repository("a", Actions::TAG_CREATE);
        assert_eq!(needed(&route, Method::Put), Some(push));
        let delete = Needed::Repository("a", Actions::DELETE);
        assert_eq!(needed(&route, Method::Delete), Some(delete));
    }
}
