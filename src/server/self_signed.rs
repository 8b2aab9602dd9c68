//! `windlass tls self-signed`: a certificate for trials, and what to do with it.

use std::path::Path;
use std::process::ExitCode;

use super::error::ServerError;
use super::run::report;
use crate::base::Clock;
use crate::disk::{create_directories_synced, write_file_synced_blocking};
use crate::net::SelfSigned;

/// Makes `tls.pem` and `tls.key` in a folder, for clients that call the registry by one
/// of `names`, and prints what configuration and clients need. Replaces nothing.
#[must_use]
pub fn self_signed(names: &[String], directory: &Path) -> ExitCode {
    report(make(names, directory))
}

fn make(names: &[String], directory: &Path) -> Result<String, ServerError> {
    let made = SelfSigned::make(names, &Clock::system())?;
    create_directories_synced(directory)?;
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let (certificate, key) = (directory.join("tls.pem"), directory.join("tls.key"));
    for path in [&key, &certificate] {
        if path.exists() {
            return Err(ServerError::FileThere { path: path.clone() });
        }
    }
    // Both with mode 0600.
    write_file_synced_blocking(&key, made.key.as_bytes())?;
    write_file_synced_blocking(&certificate, made.certificate.as_bytes())?;
    let name = names.first().map_or("", String::as_str);
    Ok(instructions(name, &certificate, &key))
}

/// Lines for the configuration, and for clients of a registry called `name`.
fn instructions(name: &str, certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    // A name with colons is an address of IPv6.
    let host = if name.contains(':') {
        format!("[{name}]")
    } else {
        name.to_owned()
    };
    format!(
        "\
# Configuration of the registry; the user it runs as must be able to read both files.
[tls]
certificate_file = \"{certificate}\"
key_file = \"{key}\"

# Clients trust it for 397 days, once they have the certificate (not the key):
#   docker             /etc/docker/certs.d/{host}:PORT/ca.crt
#   podman, skopeo     /etc/containers/certs.d/{host}:PORT/ca.crt, or --cert-dir
#   containerd         ca = \"{certificate}\" in certs.d/{host}:PORT/hosts.toml
#   curl               curl --cacert {certificate} https://{host}:PORT/v2/"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_a_configuration_with_the_rest_behind_number_signs() {
        let text = instructions(
            "::1",
            Path::new("/etc/w/tls.pem"),
            Path::new("/etc/w/tls.key"),
        );
        let config: crate::config::Config = toml::from_str(&text).unwrap();
        assert_eq!(
            config.tls.key_file.as_deref(),
            Some(Path::new("/etc/w/tls.key"))
        );
        assert!(text.contains("certs.d/[::1]:PORT/ca.crt"), "{text}");
    }

    #[test]
    fn a_pair_is_made_once_and_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let names = ["a.example".to_owned(), "127.0.0.1".to_owned()];
        make(&names, home.path()).unwrap();
        let again = make(&names, home.path());
        assert!(
            matches!(again, Err(ServerError::FileThere { .. })),
            "{again:?}"
        );
        let bad = make(&["ü.example".to_owned()], &home.path().join("b"));
        assert!(matches!(bad, Err(ServerError::SelfSigned(_))), "{bad:?}");
    }
}
