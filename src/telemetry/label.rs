//! Label values. All are known at compile time: nothing a client sends becomes a
//! label, so the number of series is fixed.

use std::fmt::Write as _;

/// A label: its key, its values.
pub trait Label: Copy + 'static {
    /// Name of the label in the exposition.
    const KEY: &'static str;
    /// Every value, in index order.
    const ALL: &'static [Self];

    /// Position in [`Label::ALL`].
    fn index(self) -> usize;
    /// The value in the exposition.
    fn text(self) -> &'static str;
}

/// One label, or several at once.
pub trait LabelSet: Copy + 'static {
    /// Every combination, in index order.
    fn all() -> Vec<Self>;
    /// Position in [`LabelSet::all`].
    fn index(self) -> usize;
    /// Appends `key="value"` pairs, separated by commas.
    fn write(self, text: &mut String);
}

impl<L: Label> LabelSet for L {
    fn all() -> Vec<Self> {
        L::ALL.to_vec()
    }

    fn index(self) -> usize {
        Label::index(self)
    }

    fn write(self, text: &mut String) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{}=\"{}\"", L::KEY, self.text());
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    fn all() -> Vec<Self> {
        let pairs = |a: A| B::ALL.iter().map(move |b| (a, *b));
        A::ALL.iter().flat_map(|a| pairs(*a)).collect()
    }

    fn index(self) -> usize {
        let (a, b) = self;
        Label::index(a) * B::ALL.len() + Label::index(b)
    }

    fn write(self, text: &mut String) {
        let (a, b) = self;
        LabelSet::write(a, text);
        text.push(',');
        LabelSet::write(b, text);
    }
}

impl<A: Label, B: Label, C: Label> LabelSet for (A, B, C) {
    fn all() -> Vec<Self> {
        let pairs = |a: A| B::ALL.iter().map(move |b| (a, *b));
        let triples = |(a, b)| C::ALL.iter().map(move |c| (a, b, *c));
        A::ALL
            .iter()
            .flat_map(|a| pairs(*a))
            .flat_map(triples)
            .collect()
    }

    fn index(self) -> usize {
        let (a, b, c) = self;
        (Label::index(a) * B::ALL.len() + Label::index(b)) * C::ALL.len() + Label::index(c)
    }

    fn write(self, text: &mut String) {
        let (a, b, c) = self;
        LabelSet::write(a, text);
        text.push(',');
        LabelSet::write(b, text);
        text.push(',');
        LabelSet::write(c, text);
    }
}

macro_rules! label {
    ($(#[$head:meta])* $name:ident $key:literal { $($(#[$doc:meta])* $value:ident $text:literal,)+ }) => {
        $(#[$head])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $value,)+
        }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn index(self) -> usize {
                self as usize
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

pub(super) use label;

label! {
    /// What a request is about.
    Route "route" {
        /// `/v2/`.
        Version "version",
        /// Blobs: pull, head, delete.
        Blob "blob",
        /// Manifests, by tag or digest.
        Manifest "manifest",
        /// Upload sessions and mounts.
        Upload "upload",
        /// Tag lists.
        Tags "tags",
        /// Referrers of a manifest.
        Referrers "referrers",
        /// The catalog of repositories.
        Catalog "catalog",
        /// Tokens for clients.
        Token "token",
        /// The operators' door: metrics and probes.
        Admin "admin",
        /// No route, or refused before the route was known.
        Unknown "unknown",
    }
}

label! {
    /// The method of a request.
    Verb "method" {
        /// GET.
        Get "GET",
        /// HEAD.
        Head "HEAD",
        /// POST.
        Post "POST",
        /// PUT.
        Put "PUT",
        /// PATCH.
        Patch "PATCH",
        /// DELETE.
        Delete "DELETE",
        /// Any other, or unreadable.
        Other "other",
    }
}

label! {
    /// The first digit of an answer's status.
    StatusClass "status" {
        /// 100 to 199.
        Informational "1xx",
        /// 200 to 299.
        Success "2xx",
        /// 300 to 399.
        Redirection "3xx",
        /// 400 to 499.
        ClientError "4xx",
        /// 500 and above.
        ServerError "5xx",
    }
}

impl StatusClass {
    /// The class of a status code; codes outside 100 to 599 are our error.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

label! {
    /// What a connection waited for when its time was up.
    TimeoutPhase "phase" {
        /// The rest of a request head.
        Head "head",
        /// A body at the slowest rate allowed.
        Body "body",
        /// A reader that takes the answer.
        Write "write",
        /// The next request of an idle connection.
        Idle "idle",
    }
}

label! {
    /// How it ended that a connection wanted to be let in: by TLS, a proxy, or both.
    EntranceEnd "end" {
        /// Its requests are served.
        Admitted "admitted",
        /// It hung up, or its end stopped.
        Gone "gone",
        /// It did not get through in time.
        TimedOut "timed_out",
        /// It gave way to later ones: too many were on their way.
        Displaced "displaced",
        /// It does not speak TLS.
        NotTls "not_tls",
        /// Its handshake is against the protocol, or none of its ways is spoken here.
        Refused "refused",
        /// Its certificate is missing or does not hold.
        Certificate "certificate",
        /// It comes from a trusted proxy without the header due.
        ProxyHeader "proxy_header",
    }
}

label! {
    /// How it ended to read certificate and key again.
    ReloadEnd "end" {
        /// The new ones are shown.
        Loaded "loaded",
        /// They cannot be used; the old ones stay.
        Failed "failed",
    }
}

label! {
    /// How an upload session ended.
    UploadEnd "end" {
        /// Sealed into a blob.
        Sealed "sealed",
        /// The content did not have the declared digest.
        Mismatched "mismatched",
        /// Given up by its client.
        Aborted "aborted",
        /// Idle for too long.
        Expired "expired",
        /// The disk failed or was full.
        Failed "failed",
    }
}

label! {
    /// Where the bytes of a committed blob live.
    BlobForm "form" {
        /// In a file of their own.
        File "file",
        /// In the journal and the state.
        Inline "inline",
    }
}

label! {
    /// Where the bytes of an answer came from.
    ReadPath "path" {
        /// From the state, with the record.
        Inline "inline",
        /// From the page cache, without a copy.
        Resident "resident",
        /// From the page cache, copied.
        Copied "copied",
        /// From the disk, past the page cache.
        Direct "direct",
    }
}

label! {
    /// What was synced to disk.
    SyncedThing "what" {
        /// The content of a file.
        File "file",
        /// The entries of a directory.
        Directory "directory",
    }
}

label! {
    /// How a proposal to the journal ended.
    ProposalEnd "end" {
        /// Committed and applied.
        Applied "applied",
        /// Refused: too many are waiting.
        Busy "busy",
        /// Held for a leader, and none came.
        NoLeader "no_leader",
        /// Refused: this node cannot commit.
        Unavailable "unavailable",
        /// Not applied in time; the outcome is unknown.
        TimedOut "timed_out",
        /// Refused: larger than an entry may be.
        TooLarge "too_large",
    }
}

label! {
    /// Whether a request was let in.
    AccessDecision "decision" {
        /// Let in.
        Allowed "allowed",
        /// No credentials, and some are needed.
        Missing "missing",
        /// Bad credentials.
        Invalid "invalid",
        /// A good token that does not say enough.
        Insufficient "insufficient",
        /// A known user who may not.
        Denied "denied",
        /// Too many passwords waited to be checked.
        Crowded "crowded",
        /// There were no keys to check its token with.
        Unready "unready",
        /// It asked for more than it may have.
        Limited "limited",
    }
}

label! {
    /// What a client had as much of as it may have.
    Limit "limit" {
        /// Requests from its address.
        AddressRate "address_rate",
        /// Uploads from its address at a time.
        AddressUploads "address_uploads",
        /// Wrong passwords from its address.
        AddressLogins "address_logins",
        /// Requests of its user.
        SubjectRate "subject_rate",
        /// Uploads of its user at a time.
        SubjectUploads "subject_uploads",
        /// Wrong passwords for its user.
        SubjectLogins "subject_logins",
    }
}

label! {
    /// What came of a token.
    TokenCheck "check" {
        /// Its signature and its claims were checked.
        Verified "verified",
        /// It was checked a moment ago.
        Remembered "remembered",
        /// It is none of ours, or over.
        Refused "refused",
    }
}

label! {
    /// How a fetch of an issuer's keys ended.
    KeyFetchEnd "end" {
        /// With keys.
        Fetched "fetched",
        /// Without; older ones stay for a while.
        Failed "failed",
    }
}

label! {
    /// What came of a login.
    LoginEnd "end" {
        /// The password is right.
        Proved "proved",
        /// It is not, or there is no such user.
        Wrong "wrong",
        /// Too many were waiting; answered 429.
        Crowded "crowded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CallEnd, PeerService};

    #[test]
    fn indexes_follow_the_order_of_all() {
        for (index, labels) in <(Route, Verb, StatusClass)>::all().into_iter().enumerate() {
            assert_eq!(labels.index(), index);
        }
        for (index, labels) in <(PeerService, CallEnd)>::all().into_iter().enumerate() {
            assert_eq!(labels.index(), index);
        }
    }

    #[test]
    fn label_sets_are_written_as_pairs() {
        let mut text = String::new();
        (Route::Blob, Verb::Get, StatusClass::of(206)).write(&mut text);
        assert_eq!(text, r#"route="blob",method="GET",status="2xx""#);
    }
}
