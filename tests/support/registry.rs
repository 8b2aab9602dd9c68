//! The registry's use cases as a client sees them, one call each.

use std::io;
use std::net::SocketAddr;

use super::client::{Client, Request, Response};
use super::content::{Random, digest_of, image, sha256};

/// Media type of an OCI image manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image configuration.
pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an OCI layer.
pub(crate) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The error codes of the specification.
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// A client of one registry over one connection; with `WINDLASS_TEST_NODES` over a new
/// one for each request, which the proxy before the nodes passes to the next of them.
pub(crate) struct Registry {
    /// The connection below, for requests that need raw control.
    pub(crate) client: Client,
    is_steady: bool,
}

impl Registry {
    /// A registry client of `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            client: Client::new(address),
            is_steady: std::env::var_os("WINDLASS_TEST_NODES").is_none(),
        }
    }

    /// As [`Registry::new`], on one connection as long as the server keeps it.
    pub(crate) fn steady(address: SocketAddr) -> Self {
        Self {
            is_steady: true,
            ..Self::new(address)
        }
    }

    /// Sends `request` and checks what holds for every answer.
    #[track_caller]
    pub(crate) fn send(&mut self, request: &Request) -> Response {
        let response = self.client.send(request);
        if !self.is_steady {
            self.client.close();
        }
        check_every_answer(&response);
        response
    }

    /// Sends a request without a body.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, target: &str) -> Response {
        self.send(&Request::new(method, target))
    }

    /// GET.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.call("GET", target)
    }

    /// Opens an upload session and gives its location.
    #[track_caller]
    pub(crate) fn open_upload(&mut self, repository: &str) -> String {
        let target = format!("/v2/{repository}/blobs/uploads/");
        location(&self.call("POST", &target).expect(202))
    }

    /// Pushes one blob in one request and gives its sha256 digest.
    #[track_caller]
    pub(crate) fn push_blob(&mut self, repository: &str, content: &[u8]) -> String {
        self.push_blob_as("sha256", repository, content)
    }

    /// Pushes one blob in one request under `algorithm`.
    #[track_caller]
    pub(crate) fn push_blob_as(
        &mut self,
        algorithm: &str,
        repository: &str,
        content: &[u8],
    ) -> String {
        let digest = digest_of(algorithm, content);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let request = Request::new("POST", target).body(content);
        let mut response = self.send(&request);
        if is_lenient() && response.status == 202 {
            // A registry may decline the single POST; the session takes the bytes.
            let session = location(&response);
            let joint = if session.contains('?') { '&' } else { '?' };
            let target = format!("{session}{joint}digest={digest}");
            response = self.send(&Request::new("PUT", target).body(content));
        }
        let response = response.expect(201);
        assert_eq!(response.only("Docker-Content-Digest"), digest);
        digest
    }

    /// Pushes manifest bytes under a tag or digest.
    #[track_caller]
    pub(crate) fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Response {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let request = Request::new("PUT", target).header("Content-Type", media_type);
        self.send(&request.body(bytes))
    }

    /// Pushes a small image of two blobs made from `seed` under `tag`; gives the
    /// manifest's bytes and digest.
    #[track_caller]
    pub(crate) fn push_image(
        &mut self,
        repository: &str,
        tag: &str,
        seed: u64,
    ) -> (Vec<u8>, String) {
        let mut random = Random::new(seed);
        let (config, layer) = (random.bytes(60), random.bytes(600));
        let config_digest = self.push_blob(repository, &config);
        let layer_digest = self.push_blob(repository, &layer);
        let manifest = image(
            (&config_digest, config.len()),
            &[(&layer_digest, layer.len())],
        );
        let bytes = serde_json::to_vec(&manifest).expect("a value encodes");
        let digest = sha256(&bytes);
        let response = self
            .put_manifest(repository, tag, MANIFEST_TYPE, &bytes)
            .expect(201);
        assert_eq!(response.only("Docker-Content-Digest"), digest);
        (bytes, digest)
    }

    /// Sends a request and lets a broken connection be an outcome.
    pub(crate) fn try_send(&mut self, request: &Request) -> io::Result<Response> {
        let outcome = self.client.try_send(request);
        if !self.is_steady {
            self.client.close();
        }
        outcome
    }
}

/// Whether the suite is aimed at another registry, for a look at the suite itself:
/// `WINDLASS_TEST_LENIENT` drops what only this project promises of every answer.
fn is_lenient() -> bool {
    std::env::var_os("WINDLASS_TEST_LENIENT").is_some()
}

/// The location of an answer, which must be a path on this host.
#[track_caller]
pub(crate) fn location(response: &Response) -> String {
    let location = response.only("Location");
    if !is_lenient() {
        assert!(
            location.starts_with('/'),
            "Location is relative: {location}"
        );
    }
    let path = location
        .split_once("//")
        .and_then(|(_, rest)| rest.split_once('/'));
    path.map_or_else(|| location.to_owned(), |(_, path)| format!("/{path}"))
}

/// Checks what holds for every answer of the registry.
#[track_caller]
fn check_every_answer(response: &Response) {
    if is_lenient() {
        return;
    }
    let about = &response.about;
    assert!(
        response.values("Transfer-Encoding").is_empty(),
        "{about}: chunked answer"
    );
    assert!(
        response.values("Content-Encoding").is_empty(),
        "{about}: compressed answer"
    );
    if response.status != 204 && response.status != 304 {
        let length = response.only("Content-Length");
        assert!(
            length.parse::<u64>().is_ok(),
            "{about}: Content-Length {length}"
        );
    }
    assert_eq!(
        response.only("X-Content-Type-Options"),
        "nosniff",
        "{about}"
    );
    assert!(
        !response.only("X-Request-Id").is_empty(),
        "{about}: no request id"
    );
    if is_dialect_refusal(response) {
        return;
    }
    let version = response.only("Docker-Distribution-API-Version");
    assert_eq!(version, "registry/2.0", "{about}");
    if response.status >= 400 && !about.starts_with("HEAD ") {
        check_error_body(response);
    }
}

/// Whether the bytes were no request of the dialect, so that no door of the
/// registry has seen them: plain text, and the connection ends.
fn is_dialect_refusal(response: &Response) -> bool {
    let ends = response.header("Connection") == Some("close");
    ends && response.header("Content-Type") == Some("text/plain")
}

/// Checks the shape of an error body and that its codes are the specification's.
#[track_caller]
fn check_error_body(response: &Response) {
    let about = &response.about;
    assert_eq!(response.only("Content-Type"), "application/json", "{about}");
    let body = response.json();
    let errors = body["errors"].as_array().expect("an error body has a list");
    assert!(!errors.is_empty(), "{about}: {body}");
    for error in errors {
        let code = error["code"].as_str().expect("an error has a code");
        assert!(CODES.contains(&code), "{about}: code {code}");
        let message = error["message"].as_str().expect("an error has a message");
        assert!(!message.is_empty(), "{about}: empty message");
    }
}
