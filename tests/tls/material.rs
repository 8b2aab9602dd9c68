//! Certificates for the tests, and nodes that show them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use super::support::{Node, NodeOptions};

/// The name that every server's certificate is for.
pub(crate) const NAME: &str = "registry.test";

/// An authority, and the certificates it has made, in a folder.
pub(crate) struct Material {
    folder: TempDir,
    authority: CertificateParams,
    key: KeyPair,
    /// The authority's certificate, as PEM.
    pub(crate) trusted: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Material {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        let trusted = authority.self_signed(&key).unwrap().pem();
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(folder.path().join("ca.pem"), &trusted).unwrap();
        Self {
            folder,
            authority,
            key,
            trusted,
        }
    }

    /// A certificate that holds until the year's end.
    pub(crate) fn pair(&self, name: &str, year: i32) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        self.signed(params, year)
    }

    /// The same with other names.
    pub(crate) fn signed(&self, mut params: CertificateParams, year: i32) -> Pair {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.authority, &self.key);
        Pair {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the pair where the node looks, as a careful operator does: beside, then
    /// renamed.
    pub(crate) fn install(&self, pair: &Pair) {
        for (name, content, mode) in [
            ("tls.key", &pair.key, 0o600),
            ("tls.pem", &pair.certificate, 0o644),
        ] {
            let beside = self.path("beside");
            fs::write(&beside, content).unwrap();
            fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
            fs::rename(&beside, self.path(name)).unwrap();
        }
    }

    /// Options of a node with the installed pair; `more` follows in its configuration.
    pub(crate) fn options(&self, more: &str) -> NodeOptions {
        let tls = format!(
            "[tls]\ncertificate_file = '{}'\nkey_file = '{}'\n{more}\n",
            self.path("tls.pem").display(),
            self.path("tls.key").display(),
        );
        configured(&self.path("windlass.toml"), &tls)
    }

    /// A running node under TLS.
    pub(crate) fn node(&self, more: &str) -> Node {
        self.install(&self.pair(NAME, 2090));
        Node::start_with(self.options(more))
    }
}

/// Options of a node with this configuration.
pub(crate) fn configured(path: &Path, text: &str) -> NodeOptions {
    fs::write(path, text).unwrap();
    // Users may stand in it.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    NodeOptions {
        arguments: vec!["--config".to_owned(), path.display().to_string()],
        ..NodeOptions::default()
    }
}
