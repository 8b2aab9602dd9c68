//! Error codes of the distribution spec, and the body that carries them.

use serde_json::{Map, Value, json};

/// What went wrong, in the words of the specification (code-1 to code-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// code-1: the blob is not in this repository.
    BlobUnknown,
    /// code-2: the upload cannot be completed.
    BlobUploadInvalid,
    /// code-3: no such upload session.
    BlobUploadUnknown,
    /// code-4: the digest is malformed or does not match the content.
    DigestInvalid,
    /// code-5: the manifest names a blob or manifest that is not here.
    ManifestBlobUnknown,
    /// code-6: the manifest is not acceptable.
    ManifestInvalid,
    /// code-7: the manifest is not in this repository.
    ManifestUnknown,
    /// code-8: the repository name does not follow the grammar.
    NameInvalid,
    /// code-9: the repository is not known.
    NameUnknown,
    /// code-10: the length does not match the content.
    SizeInvalid,
    /// code-11: credentials are needed.
    Unauthorized,
    /// code-12: the credentials do not suffice.
    Denied,
    /// code-13: the operation is not supported.
    Unsupported,
    /// code-14: too many requests.
    TooManyRequests,
}

impl ErrorCode {
    /// The code as the specification writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
        }
    }
}

/// What an error entry says beyond its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail<'a> {
    /// Nothing; written as an empty object.
    None,
    /// A sentence or a value.
    Text(&'a str),
    /// One named value, such as `digest` and the digest that is missing.
    Field(&'a str, &'a str),
}

/// One entry of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorEntry<'a> {
    /// The code.
    pub code: ErrorCode,
    /// For people; never parsed.
    pub message: &'a str,
    /// For programs.
    pub detail: Detail<'a>,
}

/// Writes the JSON body of an error answer, `application/json`.
///
/// - Source: distribution-spec v1.1, "Error Codes".
#[must_use]
pub fn error_body(entries: &[ErrorEntry<'_>]) -> Vec<u8> {
    let entry = |entry: &ErrorEntry<'_>| {
        let detail = match entry.detail {
            Detail::None => Value::Object(Map::new()),
            Detail::Text(text) => Value::from(text),
            Detail::Field(name, value) => json!({ name: value }),
        };
        json!({ "code": entry.code.as_str(), "message": entry.message, "detail": detail })
    };
    let errors: Vec<Value> = entries.iter().map(entry).collect();
    json!({ "errors": errors }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_every_entry_escaped() {
        let entries = [
            ErrorEntry {
                code: ErrorCode::ManifestBlobUnknown,
                message: "say \"what\"",
                detail: Detail::Field("digest", "sha256:ab"),
            },
            ErrorEntry {
                code: ErrorCode::Denied,
                message: "",
                detail: Detail::None,
            },
        ];
        let body: Value = serde_json::from_slice(&error_body(&entries)).unwrap();
        let expected = json!({ "errors": [
            { "code": "MANIFEST_BLOB_UNKNOWN", "message": "say \"what\"",
              "detail": { "digest": "sha256:ab" } },
            { "code": "DENIED", "message": "", "detail": {} },
        ]});
        assert_eq!(body, expected);
    }
}
