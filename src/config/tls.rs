//! `[tls]` and `[proxy]`: how clients reach the registry, and who stands between.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// One that is shown must hold; whoever shows none comes in as well.
    Requested,
    /// Nobody comes in without one.
    Required,
}

/// Who encrypts what goes over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelEncryption {
    /// The kernel, where it can.
    Auto,
    /// Always this process.
    Off,
}

/// A name in a client's certificate that says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIdentity {
    /// The first host name of the subject's alternative names.
    Dns,
    /// The first URI there.
    Uri,
    /// The first address of mail there.
    Email,
    /// The common name.
    CommonName,
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    /// The certificate, and those between it and its authority. With it the registry
    /// speaks TLS.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Authorities of clients that prove themselves by certificates.
    pub client_ca_file: Option<PathBuf>,
    /// Whether they must.
    pub client_certificates: ClientCertificates,
    /// Which names in them say who their owner is, the best first; none when a
    /// certificate proves nothing but that its owner may ask.
    pub client_identity: Vec<ClientIdentity>,
    /// Whether operators are spoken to in TLS as well.
    pub admin: bool,
    /// Who encrypts content for clients, and between nodes.
    pub kernel: KernelEncryption,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self {
            certificate_file: None,
            key_file: None,
            client_ca_file: None,
            client_certificates: ClientCertificates::Required,
            client_identity: Vec::new(),
            admin: false,
            kernel: KernelEncryption::Auto,
        }
    }
}

impl TlsSection {
    /// Every key with a value.
    pub(super) fn with_every_key() -> Self {
        let file = |name: &str| Some(PathBuf::from(format!("/etc/windlass/{name}")));
        Self {
            certificate_file: file("tls.pem"),
            key_file: file("tls.key"),
            client_ca_file: file("clients.pem"),
            ..Self::default()
        }
    }
}

/// How proxies say who their client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyWord {
    /// By the header `X-Forwarded-For`.
    XForwardedFor,
    /// By the header `Forwarded`.
    Forwarded,
    /// By the PROXY protocol, version 1 or 2.
    ProxyProtocol,
}

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySection {
    /// Networks of the proxies that are believed.
    pub trusted: Vec<IpNet>,
    /// How they say who their client is.
    pub word: ProxyWord,
}

impl Default for ProxySection {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            word: ProxyWord::XForwardedFor,
        }
    }
}
