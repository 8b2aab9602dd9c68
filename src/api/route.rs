//! Which endpoint a path names: pure text in, typed route out.
//!
//! Nothing is percent-decoded: no legal name needs it, and decoding is how two
//! readers of one path come to disagree. Repository names may hold any of the
//! words `blobs`, `manifests` and `tags`, so a path is read from its end.

use crate::oci::{Digest, Reference, Repository};

/// The endpoints of the distribution specification, by what they address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`: end-1.
    Base,
    /// `/token`, where this registry makes tokens.
    Token,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/<name>/blobs/<digest>`: end-2, end-10.
    Blob(Repository, Digest),
    /// `/v2/<name>/manifests/<reference>`: end-3, end-7, end-9.
    Manifest(Repository, Reference),
    /// `/v2/<name>/blobs/uploads/`: end-4, end-11.
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<id>`: end-5, end-6, end-13, end-14. The id is
    /// checked by the store, which made it.
    Upload(Repository, Box<str>),
    /// `/v2/<name>/tags/list`: end-8.
    Tags(Repository),
    /// `/v2/<name>/referrers/<digest>`: end-12.
    Referrers(Repository, Digest),
}

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    /// No endpoint has this shape.
    #[error("no endpoint has this path")]
    Unknown,
    /// The repository name breaks the grammar.
    #[error("repository name does not match the grammar of the specification")]
    Name,
    /// The digest breaks the grammar or names an unsupported algorithm.
    #[error("digest is malformed or its algorithm is not supported")]
    Digest,
    /// The reference is neither a tag nor a digest.
    #[error("reference is neither a tag nor a digest")]
    Reference,
}

impl Route {
    /// The name of the repository that it is about.
    pub(super) fn repository(&self) -> Option<&str> {
        match self {
            Self::Base | Self::Token | Self::Catalog => None,
            Self::Blob(name, _)
            | Self::Manifest(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name.as_str()),
        }
    }

    /// Reads the raw, undecoded path of a request target.
    pub(super) fn parse(path: &str) -> Result<Self, RouteError> {
        if path == "/token" {
            return Ok(Self::Token);
        }
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some("/_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest.strip_prefix('/').ok_or(RouteError::Unknown)?,
            None => return Err(RouteError::Unknown),
        };
        let (head, last) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
        let (head, kind) = head.rsplit_once('/').ok_or(RouteError::Unknown)?;
        match (kind, last) {
            ("tags", "list") => Ok(Self::Tags(repository(head)?)),
            ("blobs", "uploads") => Ok(Self::Uploads(repository(head)?)),
            ("blobs", digest) => Ok(Self::Blob(repository(head)?, parse_digest(digest)?)),
            ("referrers", digest) => Ok(Self::Referrers(repository(head)?, parse_digest(digest)?)),
            ("manifests", text) => Ok(Self::Manifest(repository(head)?, reference(text)?)),
            ("uploads", id) => {
                let name = head.strip_suffix("/blobs").ok_or(RouteError::Unknown)?;
                let name = repository(name)?;
                Ok(match id {
                    "" => Self::Uploads(name),
                    id => Self::Upload(name, id.into()),
                })
            }
            _ => Err(RouteError::Unknown),
        }
    }
}

fn repository(name: &str) -> Result<Repository, RouteError> {
    Repository::parse(name).map_err(|_| RouteError::Name)
}

fn parse_digest(text: &str) -> Result<Digest, RouteError> {
    Digest::parse(text).map_err(|_| RouteError::Digest)
}

fn reference(text: &str) -> Result<Reference, RouteError> {
    Reference::parse(text).map_err(|_| {
        if text.contains(':') {
            RouteError::Digest
        } else {
            RouteError::Reference
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(text: &str) -> Repository {
        Repository::parse(text).unwrap()
    }

    #[test]
    fn every_endpoint_has_its_route() {
        let digest = Digest::parse(&format!("sha256:{HEX}")).unwrap();
        let cases = [
            ("/v2/", Route::Base),
            ("/v2", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/token", Route::Token),
            ("/v2/a/tags/list", Route::Tags(name("a"))),
            ("/v2/a/b/blobs/uploads/", Route::Uploads(name("a/b"))),
            ("/v2/a/b/blobs/uploads", Route::Uploads(name("a/b"))),
            (
                "/v2/a/blobs/uploads/x1",
                Route::Upload(name("a"), "x1".into()),
            ),
        ];
        for (path, route) in cases {
            assert_eq!(Route::parse(path), Ok(route), "{path}");
        }
        let blob = Route::parse(&format!("/v2/a/blobs/sha256:{HEX}"));
        assert_eq!(blob, Ok(Route::Blob(name("a"), digest)));
        let referrers = Route::parse(&format!("/v2/a/referrers/sha256:{HEX}"));
        assert_eq!(referrers, Ok(Route::Referrers(name("a"), digest)));
    }

    #[test]
    fn words_of_the_api_may_stand_in_a_name() {
        let tags = Route::parse("/v2/manifests/blobs/tags/list");
        assert_eq!(tags, Ok(Route::Tags(name("manifests/blobs"))));
        let uploads = Route::parse("/v2/blobs/blobs/uploads/");
        assert_eq!(uploads, Ok(Route::Uploads(name("blobs"))));
        let manifest = Route::parse("/v2/tags/manifests/list");
        assert!(
            matches!(manifest, Ok(Route::Manifest(repository, _)) if repository == name("tags"))
        );
    }

    #[test]
    fn odd_paths_are_refused_and_never_decoded() {
        let cases = [
            ("/", RouteError::Unknown),
            ("/v1/", RouteError::Unknown),
            ("/v2x/", RouteError::Unknown),
            ("/v2/a", RouteError::Unknown),
            ("/v2/a/b/c", RouteError::Unknown),
            ("/v2//tags/list", RouteError::Name),
            ("/v2/a//b/tags/list", RouteError::Name),
            ("/v2/a/../b/tags/list", RouteError::Name),
            ("/v2/./tags/list", RouteError::Name),
            ("/v2/a%2fb/tags/list", RouteError::Name),
            ("/v2/a\\b/tags/list", RouteError::Name),
            ("/v2/A/tags/list", RouteError::Name),
            ("/v2/a/blobs/md5:00", RouteError::Digest),
            ("/v2/a/blobs/", RouteError::Digest),
            ("/v2/a/manifests/sha256:zz", RouteError::Digest),
            ("/v2/a/manifests/.hidden", RouteError::Reference),
            ("/v2/a/uploads/x", RouteError::Unknown),
        ];
        for (path, error) in cases {
            assert_eq!(Route::parse(path), Err(error), "{path}");
        }
    }
}
