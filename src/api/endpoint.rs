//! Every endpoint as it stands on a request line: a list for whoever checks that each
//! asks for what it should.

use super::access::needed;
use super::route::Route;
use crate::http::Method;
use crate::oci::Reference;

/// What stands for each part in angle brackets, to look at an endpoint.
const SAMPLES: [(&str, &str); 4] = [
    ("<name>", "a"),
    (
        "<digest>",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    ("<tag>", "tag"),
    ("<id>", "id"),
];

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident $path:literal,)+) => {
        /// An endpoint, whatever its path names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Endpoint {
            $($(#[$doc])* $name,)+
        }

        impl Endpoint {
            const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its path, with what it names in angle brackets.
            const fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)+
                }
            }
        }
    };
}

endpoints! {
    Base "/v2/",
    Token "/token",
    Catalog "/v2/_catalog",
    Tags "/v2/<name>/tags/list",
    Referrers "/v2/<name>/referrers/<digest>",
    Blob "/v2/<name>/blobs/<digest>",
    /// Apart from [`Endpoint::Tagged`]: a push needs another right.
    Manifest "/v2/<name>/manifests/<digest>",
    Tagged "/v2/<name>/manifests/<tag>",
    Uploads "/v2/<name>/blobs/uploads/",
    Upload "/v2/<name>/blobs/uploads/<id>",
}

impl Endpoint {
    /// The one that a route belongs to: a route that is new must choose.
    const fn of(route: &Route) -> Self {
        match route {
            Route::Base => Self::Base,
            Route::Token => Self::Token,
            Route::Catalog => Self::Catalog,
            Route::Tags(_) => Self::Tags,
            Route::Referrers(..) => Self::Referrers,
            Route::Blob(..) => Self::Blob,
            Route::Manifest(_, Reference::Digest(_)) => Self::Manifest,
            Route::Manifest(_, Reference::Tag(_)) => Self::Tagged,
            Route::Uploads(_) => Self::Uploads,
            Route::Upload(..) => Self::Upload,
        }
    }

    /// A route that belongs to it; `None` when its path leads elsewhere.
    fn sample(self) -> Option<Route> {
        let fill = |path: String, (part, sample): (&str, &str)| path.replace(part, sample);
        let path = SAMPLES.into_iter().fold(self.path().to_owned(), fill);
        let route = Route::parse(&path).ok()?;
        (Self::of(&route) == self).then_some(route)
    }
}

/// Every method with every path that it is served on, as `("GET", "/v2/<name>/tags/list")`.
pub fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    let methods = |endpoint: &Endpoint| {
        let (path, route) = (endpoint.path(), endpoint.sample());
        let route = route.expect("invariant: the path of an endpoint is a route to it");
        let served = move |method: &Method| needed(&route, *method).is_some();
        let served = Method::ALL.into_iter().filter(served);
        served.map(move |method| (method.as_str(), path))
    };
    Endpoint::ALL.iter().flat_map(methods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_reached_by_its_path_and_serves_something() {
        for endpoint in Endpoint::ALL {
            assert!(endpoint.sample().is_some(), "{endpoint:?}");
            let is_served = endpoints().any(|(_, path)| path == endpoint.path());
            assert!(is_served, "{endpoint:?}");
        }
        assert!(endpoints().any(|one| one == ("DELETE", "/v2/<name>/blobs/<digest>")));
        assert!(!endpoints().any(|one| one == ("PUT", "/v2/<name>/blobs/<digest>")));
    }
}
