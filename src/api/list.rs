//! Lists: end-8, end-12 and the catalog.

use bytes::Bytes;

use super::answer::{Answer, Handled};
use super::door::Door;
use super::failure::Failure;
use super::page::PageQuery;
use crate::guard::Pass;
use crate::http::{Query, Status};
use crate::oci::{Digest, ErrorCode, MediaType, Repository, Tag};
use crate::registry::ReferrerQuery;

impl Door {
    /// GET of a repository's tags, in lexical order.
    pub(super) async fn list_tags(&self, query: &Query, repository: &Repository) -> Handled {
        let page_query = PageQuery::read(query)?;
        let after = page_query.after.as_deref();
        let seen = self
            .registry
            .tags(repository, after, page_query.limit)
            .await?;
        let page = seen.value;
        let body = tags_body(repository, &page.entries);
        let answer = Answer::json(Status::OK, body).seen(seen.freshness);
        let path = format!("/v2/{repository}/tags/list");
        let last = page.entries.last().filter(|_| page.more);
        Ok(match last {
            Some(last) => answer.with("Link", page_query.next_link(&path, last.as_str(), &[])),
            None => answer,
        })
    }

    /// GET of the repositories this registry holds, as far as the caller may pull them.
    pub(super) async fn catalog(&self, query: &Query, pass: &Pass) -> Handled {
        let page_query = PageQuery::read(query)?;
        let after = page_query.after.as_deref();
        let is_shown = |repository: &Repository| pass.may_see(repository);
        let seen = self
            .registry
            .repositories(after, page_query.limit, is_shown)
            .await?;
        let page = seen.value;
        let answer = Answer::json(Status::OK, catalog_body(&page.entries)).seen(seen.freshness);
        let last = page.entries.last().filter(|_| page.more);
        Ok(match last {
            Some(last) => answer.with(
                "Link",
                page_query.next_link("/v2/_catalog", last.as_str(), &[]),
            ),
            None => answer,
        })
    }

    /// GET of the manifests whose `subject` is this digest; never 404.
    pub(super) async fn referrers(
        &self,
        query: &Query,
        repository: &Repository,
        subject: &Digest,
    ) -> Handled {
        let page_query = PageQuery::read(query)?;
        let filter = query.value("artifactType");
        let after = match page_query.after.as_deref().map(Digest::parse).transpose() {
            Ok(after) => after,
            Err(error) => {
                return Err(Failure::bad(ErrorCode::DigestInvalid, error.to_string()));
            }
        };
        let query = ReferrerQuery {
            artifact_type: filter,
            after: after.as_ref(),
            limit: page_query.limit,
        };
        let seen = self.registry.referrers(repository, subject, query).await?;
        let page = seen.value;
        let mut answer = Answer::empty(Status::OK)
            .with("Content-Type", MediaType::OCI_INDEX)
            .seen(seen.freshness)
            .body(referrers_body(&page.descriptors));
        if filter.is_some() {
            answer = answer.with("OCI-Filters-Applied", "artifactType");
        }
        let Some(last) = page.next else {
            return Ok(answer);
        };
        let path = format!("/v2/{repository}/referrers/{subject}");
        let extra: Vec<_> = filter
            .map(|kind| ("artifactType", kind))
            .into_iter()
            .collect();
        Ok(answer.with(
            "Link",
            page_query.next_link(&path, &last.to_string(), &extra),
        ))
    }
}

/// `{"name":…,"tags":[…]}`. Names and tags hold no character that JSON escapes.
fn tags_body(repository: &Repository, tags: &[Tag]) -> String {
    let tags = quoted(tags.iter().map(Tag::as_str));
    format!("{{\"name\":\"{repository}\",\"tags\":[{tags}]}}")
}

/// `{"repositories":[…]}`.
fn catalog_body(repositories: &[Repository]) -> String {
    let names = quoted(repositories.iter().map(Repository::as_str));
    format!("{{\"repositories\":[{names}]}}")
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    quoted.join(",")
}

/// An image index around descriptors that are JSON already.
///
/// - Source: distribution-spec v1.1, end-12; image-spec, "Image Index".
fn referrers_body(descriptors: &[Bytes]) -> Vec<u8> {
    let head = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"manifests\":[",
        MediaType::OCI_INDEX
    );
    let mut body = head.into_bytes();
    body.extend_from_slice(&descriptors.join(b",".as_slice()));
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_the_specification_draws() {
        let repository = Repository::parse("a/b").unwrap();
        let tags = ["v1", "v2"].map(|tag| Tag::parse(tag).unwrap());
        let body = tags_body(&repository, &tags);
        assert_eq!(body, r#"{"name":"a/b","tags":["v1","v2"]}"#);
        assert_eq!(tags_body(&repository, &[]), r#"{"name":"a/b","tags":[]}"#);
        assert_eq!(catalog_body(&[repository]), r#"{"repositories":["a/b"]}"#);
        let two = [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{}")];
        let body = String::from_utf8(referrers_body(&two)).unwrap();
        assert!(body.ends_with(r#""manifests":[{"a":1},{}]}"#), "{body}");
        let empty = String::from_utf8(referrers_body(&[])).unwrap();
        assert!(empty.ends_with(r#""manifests":[]}"#), "{empty}");
    }
}
