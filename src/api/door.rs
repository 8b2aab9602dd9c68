//! The front door: every request of the registry listener comes through here.

use std::net::IpAddr;
use std::rc::Rc;

use super::access::{allowed, limited, needed};
use super::answer::{Answer, Handled};
use super::audit::Audit;
use super::failure::Failure;
use super::route::Route;
use crate::exchange::{Closed, Exchange};
use crate::guard::{Guard, Origin, Pass, Refused};
use crate::http::{Method, Status};
use crate::oci::ErrorCode;
use crate::quota::UploadPlaces;
use crate::registry::Registry;
use crate::telemetry::{AuditLog, Route as Label};

/// What the operator decides about answers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Prefix of every `Location`, without a trailing slash; relative when absent.
    /// Never taken from a request header.
    pub public_url: Option<String>,
}

/// Parses a request, has it let in, calls one use case, and writes its answer; decides
/// nothing.
///
/// One per shard; connections of the shard share it.
#[derive(Clone)]
pub struct Door {
    pub(super) registry: Rc<Registry>,
    pub(super) guard: Rc<Guard>,
    pub(super) audit: Audit,
    options: Rc<Options>,
}

impl Door {
    /// A door to this shard's registry, who lets in, and where it is written down.
    #[must_use]
    pub fn new(
        registry: Rc<Registry>,
        guard: Rc<Guard>,
        audit: AuditLog,
        options: Options,
    ) -> Self {
        Self {
            registry,
            guard,
            audit: Audit::new(audit),
            options: Rc::new(options),
        }
    }

    /// Answers one request.
    ///
    /// - Errors: the connection cannot go on: the client is gone or broke the dialect.
    pub async fn handle(&self, exchange: &mut Exchange) -> Result<(), Closed> {
        let Some(handled) = self.dispatch(exchange).await? else {
            return Ok(());
        };
        let answer = handled.unwrap_or_else(Failure::answer);
        exchange.respond(answer.head(), &answer.body).await
    }

    /// `None` when the handler has streamed its answer itself. What moves bodies is
    /// boxed, so that a connection between requests does not hold its room.
    async fn dispatch(&self, exchange: &mut Exchange) -> Result<Option<Handled>, Closed> {
        let head = Rc::clone(exchange.head());
        let route = Route::parse(head.path());
        if let Ok(route) = &route {
            exchange.set_route(label(route));
        }
        let client = exchange.client_address();
        if let Err(exceeded) = self.guard.count_address(client) {
            return Ok(Some(Err(limited(exceeded))));
        }
        if head
            .header("Content-Encoding")
            .is_some_and(|coding| coding != "identity")
        {
            return Ok(Some(Err(encoded())));
        }
        let route = match route {
            Ok(route) => route,
            Err(error) => return Ok(Some(Err(error.into()))),
        };
        let Some(needed) = needed(&route, head.method()) else {
            return Ok(Some(Err(Failure::method(allowed(&route)))));
        };
        let certified = exchange.certified().cloned();
        let network = exchange.client_network();
        let origin = Origin::of(&head, (client, network), certified.as_deref());
        let admitted = self.guard.admit(&head, origin, &needed).await;
        let admitted = admitted.and_then(|pass| {
            let places = self.upload_places(&route, head.method(), (&pass, client))?;
            Ok((pass, places))
        });
        let (pass, places) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => {
                self.audit.refused(exchange, &route, &needed, &refused);
                return Ok(Some(Err(refused.into())));
            }
        };
        let handled = self.call(exchange, &route, &pass).await?;
        drop(places);
        if let Some(handled) = &handled {
            self.audit
                .handled(exchange, &route, (&pass, &needed), handled);
        }
        Ok(handled)
    }

    /// What a request that brings bytes of a blob takes up while it does.
    fn upload_places(
        &self,
        route: &Route,
        method: Method,
        (pass, client): (&Pass, IpAddr),
    ) -> Result<Option<UploadPlaces>, Refused> {
        let is_upload = matches!(route, Route::Uploads(_) | Route::Upload(..))
            && matches!(method, Method::Post | Method::Patch | Method::Put);
        is_upload
            .then(|| self.guard.begin_upload(pass, client))
            .transpose()
    }

    /// Calls the use case of a request that was let in.
    async fn call(
        &self,
        exchange: &mut Exchange,
        route: &Route,
        pass: &Pass,
    ) -> Result<Option<Handled>, Closed> {
        let head = Rc::clone(exchange.head());
        let query = head.query();
        let handled = match (route, head.method()) {
            (Route::Base, Method::Get | Method::Head) => Ok(Answer::json(Status::OK, "{}")),
            (Route::Catalog, Method::Get | Method::Head) => self.catalog(query, pass).await,
            (Route::Token, Method::Get) => self.token_of_login(exchange).await,
            (Route::Token, Method::Post) => Box::pin(self.token_of_form(exchange)).await?,
            (Route::Tags(name), Method::Get | Method::Head) => self.list_tags(query, name).await,
            (Route::Referrers(name, subject), Method::Get | Method::Head) => {
                self.referrers(query, name, subject).await
            }
            (Route::Blob(name, digest), Method::Get | Method::Head) => {
                return Box::pin(self.pull_blob(exchange, name, digest)).await;
            }
            (Route::Blob(name, digest), Method::Delete) => self.delete_blob(name, digest).await,
            (Route::Manifest(name, reference), Method::Get | Method::Head) => {
                self.pull_manifest(exchange, name, reference).await
            }
            (Route::Manifest(name, reference), Method::Put) => {
                Box::pin(self.push_manifest(exchange, pass, name, reference)).await?
            }
            (Route::Manifest(name, reference), Method::Delete) => {
                self.delete_manifest(name, reference).await
            }
            (Route::Uploads(name), Method::Post) => {
                Box::pin(self.begin_upload(exchange, pass, name)).await?
            }
            (Route::Upload(name, id), Method::Get | Method::Head) => {
                self.upload_status(name, id).await
            }
            (Route::Upload(name, id), Method::Patch) => {
                Box::pin(self.append(exchange, name, id)).await?
            }
            (Route::Upload(name, id), Method::Put) => {
                Box::pin(self.close(exchange, name, id)).await?
            }
            (Route::Upload(name, id), Method::Delete) => self.cancel_upload(name, id).await,
            (route, _) => Err(Failure::method(allowed(route))),
        };
        Ok(Some(handled))
    }

    /// A path of this registry as a `Location`.
    pub(super) fn location(&self, path: &str) -> String {
        match &self.options.public_url {
            Some(prefix) => format!("{prefix}{path}"),
            None => path.to_owned(),
        }
    }
}

/// Nothing in this server inflates what a client deflated.
fn encoded() -> Failure {
    let message = "Content-Encoding is not supported: send the bytes as they are";
    Failure::new(
        Status::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Unsupported,
        message,
    )
}

/// What the counters call a route.
const fn label(route: &Route) -> Label {
    match route {
        Route::Base => Label::Version,
        Route::Catalog => Label::Catalog,
        Route::Token => Label::Token,
        Route::Blob(..) => Label::Blob,
        Route::Manifest(..) => Label::Manifest,
        Route::Uploads(_) | Route::Upload(..) => Label::Upload,
        Route::Tags(_) => Label::Tags,
        Route::Referrers(..) => Label::Referrers,
    }
}
