//! Fetches small documents over HTTPS. Blocks: for threads of their own.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_rustls::pki_types::CertificateDer;
use futures_rustls::rustls::Error as TlsFault;
use ureq::http::Uri;
use ureq::http::header::{AGE, AUTHORIZATION, CACHE_CONTROL};
use ureq::http::{HeaderName, HeaderValue, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::tls::provider;
use super::tls_error::TlsError;
use super::tls_material::{TlsAuthorities, TlsMaterialError};

/// Redirects that are followed; all of them over HTTPS, and without the secret.
const REDIRECTS_MAX: u32 = 3;
/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Connections are for one request: the next one comes minutes later.
const IDLE_CONNECTIONS_MAX: usize = 0;

/// What bounds a fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// From looking up the name to the last byte.
    pub time: Duration,
    /// Longest document.
    pub bytes_max: u64,
    /// Whether `http` is spoken with this machine itself.
    pub is_loopback_http_allowed: bool,
}

/// Fetches documents from servers that certain authorities vouch for.
pub struct Fetcher {
    secured: Agent,
    open: Agent,
    limits: FetchLimits,
}

/// A document.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes.
    pub body: Vec<u8>,
    /// How long it may be kept, in the words of its server.
    pub cache_control: Option<Box<str>>,
    /// How long others have kept it already, in seconds.
    pub age_seconds: u64,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// This machine has no list of authorities.
    #[error("this machine has no certificates of authorities; name a file with that of the server")]
    NoAuthorities,
    /// The list of authorities cannot be used.
    #[error("certificates of authorities cannot be used: {0}")]
    Authorities(#[from] TlsMaterialError),
    /// Not an address that is fetched from.
    #[error("`{0}` is no https:// address")]
    Address(Box<str>),
    /// A secret that cannot stand in a header.
    #[error("the secret to show is not one line of printable letters")]
    Secret,
    /// TLS failed.
    #[error(transparent)]
    Tls(TlsError),
    /// The server says no.
    #[error("the server answered {0}")]
    Status(u16),
    /// The document is too long.
    #[error("the answer is longer than {bytes_max} bytes")]
    TooLong {
        /// What was allowed.
        bytes_max: u64,
    },
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// There is no way to the server, or it speaks something else.
    #[error("{0}")]
    Failed(Box<str>),
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Trusts the authorities, or those that this machine trusts. Reads files for that.
    ///
    /// - Errors: there are none.
    pub fn new(
        authorities: Option<&TlsAuthorities>,
        limits: FetchLimits,
    ) -> Result<Self, FetchError> {
        let roots: Vec<_> = match authorities {
            Some(authorities) => authorities.certificates().map(certificate).collect(),
            None => machine_authorities()?
                .iter()
                .map(|each| certificate(each))
                .collect(),
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider())
            .root_certs(RootCerts::from(roots))
            .build();
        let bounded = || {
            Agent::config_builder()
                .timeout_global(Some(limits.time))
                .max_response_header_size(HEAD_BYTES_MAX)
                .max_idle_connections(IDLE_CONNECTIONS_MAX)
                .http_status_as_error(false)
        };
        let secured = bounded()
            .https_only(true)
            .max_redirects(REDIRECTS_MAX)
            .tls_config(tls)
            .build();
        // Nothing leads from here to anywhere else.
        let open = bounded().max_redirects(0).proxy(None).build();
        Ok(Self {
            secured: secured.into(),
            open: open.into(),
            limits,
        })
    }

    /// Fetches a document, and shows the server a bearer token where there is one. A
    /// server that it redirects to is not shown the token.
    pub fn fetch(&self, address: &str, token: Option<&str>) -> Result<Fetched, FetchError> {
        let agent = self.agent(address)?;
        let mut asking = agent.get(address);
        if let Some(token) = token {
            asking = asking.header(AUTHORIZATION, bearer(token)?);
        }
        let mut answer = asking.call().map_err(|error| self.fault(error))?;
        if answer.status() != ureq::http::StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let said = text(&answer, &CACHE_CONTROL).map(Into::into);
        let age_seconds = text(&answer, &AGE).and_then(|age| age.trim().parse().ok());
        let body = answer.body_mut().with_config().limit(self.limits.bytes_max);
        Ok(Fetched {
            body: body.read_to_vec().map_err(|error| self.fault(error))?,
            cache_control: said,
            age_seconds: age_seconds.unwrap_or_default(),
        })
    }

    fn agent(&self, address: &str) -> Result<&Agent, FetchError> {
        let refused = || FetchError::Address(address.escape_debug().to_string().into());
        let uri: Uri = address.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        if authority.as_str().contains('@') {
            return Err(refused());
        }
        match uri.scheme_str() {
            Some("https") => Ok(&self.secured),
            Some("http") if self.limits.is_loopback_http_allowed && is_here(authority.host()) => {
                Ok(&self.open)
            }
            _ => Err(refused()),
        }
    }

    fn fault(&self, error: ureq::Error) -> FetchError {
        match error {
            ureq::Error::Timeout(_) => FetchError::TimedOut(self.limits.time),
            ureq::Error::BodyExceedsLimit(bytes_max) => FetchError::TooLong { bytes_max },
            ureq::Error::Rustls(error) => FetchError::Tls(TlsError::of(io::Error::other(error))),
            ureq::Error::Io(error) => self.broken(error),
            other => FetchError::Failed(other.to_string().into()),
        }
    }

    /// What lies below an I/O error.
    fn broken(&self, error: io::Error) -> FetchError {
        match error.downcast::<ureq::Error>() {
            Ok(inner) => self.fault(inner),
            Err(error) if is_of_tls(&error) => FetchError::Tls(TlsError::of(error)),
            Err(error) => FetchError::Failed(error.to_string().into()),
        }
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<TlsFault>)
}

/// Whether a host is this machine itself, whoever answers names.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = bare.parse().ok();
    address.is_some_and(|address| address.is_loopback())
}

/// Not printed, wherever it travels.
fn bearer(token: &str) -> Result<HeaderValue, FetchError> {
    let is_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let value = value.ok().filter(|_| is_word);
    let mut value = value.ok_or(FetchError::Secret)?;
    value.set_sensitive(true);
    Ok(value)
}

fn text<'a>(answer: &'a Response<Body>, name: &HeaderName) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn certificate(bytes: &[u8]) -> Certificate<'static> {
    Certificate::from_der(bytes).to_owned()
}

/// Whom this machine trusts; files that cannot be read are as if they were not there.
fn machine_authorities() -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(FetchError::NoAuthorities);
    }
    Ok(found.certs)
}

#[cfg(test)]
#[path = "fetch_test.rs"]
mod tests;
