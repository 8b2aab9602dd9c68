//! Tests of what ends of connections may do.

use super::*;
use crate::base::Clock;
use crate::net::SelfSigned;

#[test]
fn secrets_leave_the_library_only_where_the_kernel_takes_them() {
    let pair = SelfSigned::make(&["a.example".to_owned()], &Clock::system()).unwrap();
    let (chain, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
    let own = TlsIdentity::of_pem(chain, key).unwrap();
    let server = TlsServer::for_clients(&own, TlsClients::Anybody).unwrap();
    let client = TlsClient::pinned(|_| false);
    assert!(!server.config.enable_secret_extraction);
    assert!(!client.config.enable_secret_extraction);
    let (server, client) = (
        server.with_kernel(KernelTls::all()),
        client.with_kernel(KernelTls::all()),
    );
    assert!(server.config.enable_secret_extraction);
    assert!(client.config.enable_secret_extraction);
    let (server, client) = (
        server.with_kernel(KernelTls::off()),
        client.with_kernel(KernelTls::off()),
    );
    assert!(!server.config.enable_secret_extraction);
    assert!(!client.config.enable_secret_extraction);
}
