//! One place that turns everything that can go wrong into a status, a code of
//! the specification and a sentence.

use std::borrow::Cow;

use super::answer::Answer;
use super::route::RouteError;
use crate::http::Status;
use crate::oci::{Detail, Digest, ErrorCode, ErrorEntry, error_body};
use crate::registry::Error;

/// Seconds a client should wait before it repeats a request that met a full queue.
const RETRY_AFTER_SECONDS: &str = "1";

/// A request that is answered with an error body.
#[derive(Debug)]
pub(super) struct Failure {
    status: Status,
    code: ErrorCode,
    message: Cow<'static, str>,
    digests: Vec<Digest>,
    headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl Failure {
    /// A failure without detail.
    pub(super) fn new(
        status: Status,
        code: ErrorCode,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            digests: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// 400 with a code.
    pub(super) fn bad(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::BAD_REQUEST, code, message)
    }

    /// 405 for a route that has other methods.
    pub(super) fn method(allowed: &'static str) -> Self {
        let message = "the method is not supported here";
        Self::new(Status::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
            .with("Allow", allowed)
    }

    /// Its status.
    pub(super) const fn status(&self) -> Status {
        self.status
    }

    /// Code and sentence, for the operator.
    pub(super) fn reason(&self) -> String {
        format!("{}: {}", self.code.as_str(), self.message)
    }

    /// Adds a header line.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// One error entry per digest, instead of a single one.
    fn each(mut self, digests: Vec<Digest>) -> Self {
        self.digests = digests;
        self
    }

    /// The answer with its JSON body.
    ///
    /// - Source: distribution-spec v1.1, "Error Codes".
    pub(super) fn answer(self) -> Answer {
        let entry = |detail| ErrorEntry {
            code: self.code,
            message: &self.message,
            detail,
        };
        let digests: Vec<String> = self.digests.iter().map(Digest::to_string).collect();
        let body = if digests.is_empty() {
            error_body(&[entry(Detail::None)])
        } else {
            let entries: Vec<_> = digests
                .iter()
                .map(|digest| entry(Detail::Field("digest", digest)))
                .collect();
            error_body(&entries)
        };
        let mut answer = Answer::json(self.status, body);
        answer.headers.extend(self.headers);
        answer
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let message = error.to_string();
        match error {
            RouteError::Unknown => Self::new(Status::NOT_FOUND, ErrorCode::Unsupported, message),
            RouteError::Name => Self::bad(ErrorCode::NameInvalid, message),
            RouteError::Digest => Self::bad(ErrorCode::DigestInvalid, message),
            RouteError::Reference => {
                Self::new(Status::NOT_FOUND, ErrorCode::ManifestUnknown, message)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let not_found = |code| Self::new(Status::NOT_FOUND, code, message.clone());
        match error {
            Error::NameUnknown => not_found(ErrorCode::NameUnknown),
            Error::BlobUnknown { digest } => not_found(ErrorCode::BlobUnknown).each(vec![digest]),
            Error::ManifestUnknown => not_found(ErrorCode::ManifestUnknown),
            Error::UploadUnknown => not_found(ErrorCode::BlobUploadUnknown),
            Error::UploadBusy => Self::new(Status::CONFLICT, ErrorCode::BlobUploadInvalid, message),
            Error::OutOfOrder { held_bytes } => {
                let status = Status::RANGE_NOT_SATISFIABLE;
                Self::new(status, ErrorCode::BlobUploadInvalid, message)
                    .with("Range", super::upload::held_range(held_bytes))
            }
            Error::DigestMismatch { .. } => Self::bad(ErrorCode::DigestInvalid, message),
            Error::BlobTooLarge { .. } => {
                Self::new(Status::CONTENT_TOO_LARGE, ErrorCode::SizeInvalid, message)
            }
            Error::ManifestInvalid(cause) => Self::bad(cause.code(), message),
            Error::ContentMissing { digests } => {
                not_found(ErrorCode::ManifestBlobUnknown).each(digests)
            }
            Error::SizesDiffer { digests } => {
                Self::bad(ErrorCode::ManifestInvalid, message).each(digests)
            }
            Error::TagFixed { .. } | Error::TagTaken { .. } => {
                Self::new(Status::CONFLICT, ErrorCode::Denied, message)
            }
            Error::DeleteDisabled => {
                Self::new(Status::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
            }
            Error::DiskFull { .. } => {
                Self::new(Status::INSUFFICIENT_STORAGE, ErrorCode::Denied, message)
            }
            Error::Busy | Error::NoLeader => Self::new(
                Status::TOO_MANY_REQUESTS,
                ErrorCode::TooManyRequests,
                message,
            )
            .with("Retry-After", RETRY_AFTER_SECONDS),
            Error::Unavailable => {
                Self::new(Status::SERVICE_UNAVAILABLE, ErrorCode::Unsupported, message)
                    .with("Retry-After", RETRY_AFTER_SECONDS)
            }
            Error::Undecided | Error::Internal(_) => Self::new(
                Status::INTERNAL_SERVER_ERROR,
                ErrorCode::Unsupported,
                message,
            ),
        }
    }
}
