//! Tests of handshakes under TLS: whoever is not the right node of the right cluster,
//! by a certificate that holds, is refused before a frame is read.

use super::*;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::zip;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::base::{Clock, random_bytes};
use crate::net::{TlsAuthorities, TlsClient, TlsIdentity};
use crate::peer::authority::Authority;
use crate::peer::calls::Calls;
use crate::peer::certificate::{Credentials, Fingerprint};
use crate::peer::connect::welcome_within;
use crate::peer::error::ConnectError;
use crate::peer::identity::ClusterId;
use crate::peer::listener::PeerListener;
use crate::peer::material::MaterialError;
use crate::peer::preamble::Purpose;
use crate::peer::security::Security;
use crate::peer::service::Service;
use crate::peer::testing::{
    ECHO_TAG, NOBODY_WAITS, Server, knock, listen, meet, member as plain_member, node,
    welcome as admit,
};
use crate::runtime::{run_alone, timeout};
use crate::telemetry::{HandshakeFailure, Metrics};

const LONG: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn cluster(digit: char) -> ClusterId {
    ClusterId::parse(&digit.to_string().repeat(32)).unwrap()
}

fn identity(digit: char, node: u64) -> PeerIdentity {
    let cluster = cluster(digit);
    PeerIdentity { cluster, node }
}

fn listener() -> PeerListener {
    listen(&Arc::new(Metrics::new()))
}

/// The authority of cluster `a`, and its nodes.
struct Cluster(Authority);

impl Cluster {
    fn new() -> Self {
        Self(Authority::make(cluster('a'), &Clock::system()).unwrap())
    }

    fn node(&self, node: u64) -> Security {
        let credentials = self.0.issue(node, &Clock::system()).unwrap();
        let material = TlsMaterial::member(identity('a', node), &credentials);
        Security::Tls(material.unwrap())
    }

    fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint().unwrap()
    }

    /// A certificate that stops to hold so long after a day before now.
    fn short_lived(&self, node: u64, life: Duration) -> Credentials {
        let identity = identity('a', node);
        self.0.issue_for(identity, &Clock::system(), life).unwrap()
    }
}

/// Trusts the authorities of `trusted`, shows the certificate of `shown`.
fn mixed(identity: PeerIdentity, trusted: &Credentials, shown: &Credentials) -> Security {
    let authorities = TlsAuthorities::of_pem(&trusted.authorities).unwrap();
    let own = TlsIdentity::of_pem(&shown.chain, &shown.key).unwrap();
    Security::Tls(TlsMaterial::unchecked(identity, &authorities, &own).unwrap())
}

/// An operator's authority, which vouches for whatever it is asked.
struct Operator {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Operator {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn issue(&self, names: &[&str]) -> Credentials {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            authorities: self.certificate.clone().into(),
            chain: certificate.pem().into(),
            key: key.serialize_pem().into(),
        }
    }

    fn node(&self, identity: PeerIdentity) -> Security {
        let name = NodeName(identity).to_string();
        let credentials = self.issue(&[&name, "registry.example.com"]);
        Security::Tls(TlsMaterial::member(identity, &credentials).unwrap())
    }
}

fn fault(outcome: Result<Link, AuthError>) -> CertificateFault {
    match outcome {
        Err(AuthError::Tls(TlsError::Certificate(fault))) => fault,
        other => panic!("{other:?}"),
    }
}

fn auth(outcome: Result<Link, ConnectError>) -> Result<Link, AuthError> {
    outcome.map_err(|error| match error {
        ConnectError::Auth(error) => error,
        other => panic!("{other:?}"),
    })
}

#[test]
fn members_are_let_in_and_bytes_follow() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let listener = listener();
        for purpose in [Purpose::Calls, Purpose::Transfer, Purpose::Upload] {
            let ends = (&cluster.node(1), &cluster.node(2));
            let (dialer, other) = meet(&listener, purpose, 2, ends).await;
            let (mut dialer, mut other) = (dialer.unwrap(), other.unwrap());
            assert_eq!((dialer.peer(), other.peer()), (2, 1));
            assert!(dialer.plain_stream().is_none());
            dialer.write_all(b"frames").await.unwrap();
            let mut frames = [0; 6];
            other.read_exact(&mut frames).await.unwrap();
            assert_eq!(&frames, b"frames");
            drop(dialer);
            assert_eq!(other.read(&mut frames).await.unwrap(), 0);
        }
    });
}

#[test]
fn calls_of_every_size_go_both_ways_under_tls() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let server = Server::start(cluster.node(2));
        let calls = Calls::new(cluster.node(1), Arc::new(Metrics::new()));
        let target = node(2, server.address);
        let payload = |bytes: usize| Bytes::from(vec![ECHO_TAG; bytes]);
        let ask = |bytes: usize| calls.call(&target, Service::Blob, payload(bytes), NOBODY_WAITS);
        let asked = [1, 100, 70_000, 1 << 20, 12 << 20].map(ask);
        for (answer, bytes) in futures_util::future::join_all(asked)
            .await
            .into_iter()
            .zip([1, 100, 70_000, 1 << 20, 12 << 20])
        {
            assert!(answer.unwrap() == payload(bytes), "{bytes} bytes");
        }
        assert_eq!(server.metrics.peer.connections_opened.value(), 1);
    });
}

#[test]
fn another_authority_is_refused_by_both_ends() {
    run_alone(|| async {
        let (ours, theirs) = (Cluster::new(), Cluster::new());
        let listener = listener();
        let ends = (&theirs.node(1), &ours.node(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert_eq!(fault(auth(dialer)), CertificateFault::Untrusted);
        let error = other.unwrap_err();
        assert!(
            matches!(error, AuthError::Tls(TlsError::Refused(_))),
            "{error:?}"
        );
        assert_eq!(error.reason(), HandshakeFailure::Refused);

        // A dialer that trusts the cluster, which does not trust it.
        let clock = Clock::system();
        let known = ours.0.issue(1, &clock).unwrap();
        let foreign = theirs.0.issue(1, &clock).unwrap();
        let stranger = mixed(identity('a', 1), &known, &foreign);
        let ends = (&stranger, &ours.node(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        let error = other.unwrap_err();
        assert_eq!(error.reason(), HandshakeFailure::Certificate);
        assert_eq!(fault(Err(error)), CertificateFault::Untrusted);
        let error = auth(dialer).unwrap_err();
        assert!(
            matches!(error, AuthError::Tls(TlsError::Refused(_))),
            "{error:?}"
        );
        let ends = (&ours.node(1), &ours.node(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert!(dialer.is_ok() && other.is_ok());
    });
}

#[test]
fn an_expired_certificate_is_refused_by_both_ends_and_at_the_start() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let listener = listener();
        let expired = cluster.short_lived(1, LONG / 14);
        let old = mixed(identity('a', 1), &expired, &expired);
        let ends = (&old, &cluster.node(2));
        let (_, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert_eq!(fault(other), CertificateFault::Expired);
        let ends = (&cluster.node(2), &old);
        let (dialer, _) = meet(&listener, Purpose::Calls, 1, ends).await;
        assert_eq!(fault(auth(dialer)), CertificateFault::Expired);
        let refused = TlsMaterial::member(identity('a', 1), &expired).unwrap_err();
        assert!(
            matches!(
                refused,
                MaterialError::Refused(TlsError::Certificate(CertificateFault::Expired))
            ),
            "{refused:?}"
        );
        let fresh = cluster.short_lived(1, LONG);
        assert!(TlsMaterial::member(identity('a', 1), &fresh).is_ok());
    });
}

#[test]
fn another_cluster_under_the_same_authority_is_refused_by_both_ends() {
    run_alone(|| async {
        let operator = Operator::new();
        let listener = listener();
        let (ours, theirs) = (
            operator.node(identity('a', 2)),
            operator.node(identity('b', 1)),
        );
        let ends = (&theirs, &ours);
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        let found = cluster('a');
        assert!(matches!(auth(dialer), Err(AuthError::Cluster { found: named }) if named == found));
        assert!(matches!(other, Err(AuthError::Tls(_))), "{other:?}");

        // A dialer that asks for the right name, and has a certificate of elsewhere.
        let foreign = operator.issue(&[&NodeName(identity('b', 1)).to_string()]);
        let stranger = mixed(identity('a', 1), &foreign, &foreign);
        let ends = (&stranger, &ours);
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        let error = other.unwrap_err();
        assert!(
            matches!(error, AuthError::Cluster { found } if found == cluster('b')),
            "{error:?}"
        );
        assert_eq!(error.reason(), HandshakeFailure::Cluster);
        let refused = auth(dialer);
        assert!(
            matches!(refused, Err(AuthError::Refused(Verdict::OtherCluster))),
            "{refused:?}"
        );
    });
}

#[test]
fn another_node_than_the_one_wanted_is_refused_by_the_dialer() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let listener = listener();
        let ends = (&cluster.node(1), &cluster.node(3));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        let error = auth(dialer).unwrap_err();
        assert!(
            matches!(
                error,
                AuthError::Node {
                    wanted: 2,
                    found: 3
                }
            ),
            "{error:?}"
        );
        assert_eq!(error.reason(), HandshakeFailure::Node);
        assert!(other.is_err());
    });
}

#[test]
fn a_certificate_for_every_node_or_for_none_is_refused() {
    run_alone(|| async {
        let operator = Operator::new();
        let listener = listener();
        let ours = operator.node(identity('a', 2));
        let one = NodeName(identity('a', 1)).to_string();
        let second = NodeName(identity('a', 3)).to_string();
        let wildcard = format!("*.{}.windlass", cluster('a'));
        let unfit: [&[&str]; 3] = [&[&wildcard], &["registry.example.com"], &[&one, &second]];
        for names in unfit {
            let credentials = operator.issue(names);
            let refused = TlsMaterial::member(identity('a', 1), &credentials);
            assert!(
                matches!(refused, Err(MaterialError::Name { .. })),
                "{names:?}"
            );
            let stranger = mixed(identity('a', 1), &credentials, &credentials);
            let ends = (&stranger, &ours);
            let (_, other) = meet(&listener, Purpose::Calls, 2, ends).await;
            assert!(matches!(other, Err(AuthError::NoNode { .. })), "{other:?}");
            let ends = (&ours, &stranger);
            let (dialer, _) = meet(&listener, Purpose::Calls, 1, ends).await;
            let refused = auth(dialer);
            assert!(
                matches!(refused, Err(AuthError::NoNode { .. })),
                "{names:?}: {refused:?}"
            );
        }
    });
}

#[test]
fn a_dialer_without_a_certificate_is_refused() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let listener = listener();
        let address = listener.address();
        let authorities = TlsAuthorities::of_pem(cluster.0.certificate().as_bytes()).unwrap();
        let client = TlsClient::new(&authorities, None).unwrap();
        let dialing = async {
            let stream = knock(address, &[]).await;
            let name = NodeName(identity('a', 2)).to_string();
            let mut stream = client.connect(&name, stream).await.unwrap();
            let mut verdict = [0];
            let refused = stream.read_exact(&mut verdict).await.unwrap_err();
            TlsError::of_first_read(refused)
        };
        let own = cluster.node(2);
        let (refused, other) = zip(dialing, admit(&listener, &own)).await;
        assert!(matches!(refused, TlsError::Refused(_)), "{refused:?}");
        assert_eq!(fault(other), CertificateFault::Missing);
    });
}

#[test]
fn tls_and_plain_ends_refuse_each_other() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let (tls, plain) = (cluster.node(1), plain_member(1));
        let listener = listener();
        let ends = (&plain, &cluster.node(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert!(dialer.is_err());
        let error = other.unwrap_err();
        assert!(
            matches!(error, AuthError::Tls(TlsError::NotTls)),
            "{error:?}"
        );
        assert_eq!(error.reason(), HandshakeFailure::Protocol);

        let ends = (&tls, &plain_member(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert!(matches!(other, Err(AuthError::NotPlain)), "{other:?}");
        let refused = auth(dialer);
        assert!(matches!(refused, Err(AuthError::Tls(_))), "{refused:?}");

        let ends = (&tls, &cluster.node(2));
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert!(dialer.is_ok() && other.is_ok());
    });
}

#[test]
fn a_handshake_that_is_cut_or_slow_is_given_up() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let own = cluster.node(2);
        let listener = listener();
        let address = listener.address();
        // The head of a record of 512 bytes, and a part of it.
        let begun = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        let cut = async {
            let stream = knock(address, &begun).await;
            stream.shutdown_both();
            stream
        };
        let (_stream, other) = zip(cut, admit(&listener, &own)).await;
        let error = other.unwrap_err();
        assert!(
            matches!(error, AuthError::Tls(TlsError::Broken(_))),
            "{error:?}"
        );
        assert_eq!(error.reason(), HandshakeFailure::Closed);

        let slow = async {
            let newcomer = listener.accept().await.unwrap();
            let limit = Duration::from_millis(50);
            welcome_within(newcomer.stream, Purpose::Calls, &own, limit).await
        };
        let (_stream, other) = zip(knock(address, &begun), slow).await;
        assert!(matches!(other, Err(AuthError::TimedOut)), "{other:?}");
        let ends = (&cluster.node(1), &own);
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert!(dialer.is_ok() && other.is_ok());
    });
}

#[test]
fn a_node_that_joins_trusts_the_authority_of_its_token_only() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let own = cluster.node(2);
        let listener = listener();
        let joiner = Security::Tls(TlsMaterial::joiner(cluster.fingerprint()));
        let ends = (&joiner, &own);
        let (dialer, other) = meet(&listener, Purpose::Join, 0, ends).await;
        assert_eq!((dialer.unwrap().peer(), other.unwrap().peer()), (2, 0));

        let elsewhere = Security::Tls(TlsMaterial::joiner(Cluster::new().fingerprint()));
        let ends = (&elsewhere, &own);
        let (dialer, other) = meet(&listener, Purpose::Join, 0, ends).await;
        assert_eq!(fault(auth(dialer)), CertificateFault::Untrusted);
        assert!(other.is_err());

        // It may do nothing else, and a member does not join.
        let ends = (&joiner, &own);
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, ends).await;
        assert!(matches!(auth(dialer), Err(AuthError::NoMaterial)));
        assert!(other.is_err());
        let (dialer, _) = meet(&listener, Purpose::Join, 2, (&own, &own)).await;
        assert!(matches!(auth(dialer), Err(AuthError::NoMaterial)));
    });
}

#[test]
fn an_operators_own_certificates_do_as_well() {
    run_alone(|| async {
        let operator = Operator::new();
        let (one, two) = (identity('c', 1), identity('c', 2));
        let (one, two) = (operator.node(one), operator.node(two));
        let listener = listener();
        let (dialer, other) = meet(&listener, Purpose::Calls, 2, (&one, &two)).await;
        assert_eq!((dialer.unwrap().peer(), other.unwrap().peer()), (2, 1));
        let authority = Fingerprint::of_pem(operator.certificate.as_bytes()).unwrap();
        let joiner = Security::Tls(TlsMaterial::joiner(authority));
        let (dialer, other) = meet(&listener, Purpose::Join, 0, (&joiner, &two)).await;
        assert_eq!((dialer.unwrap().peer(), other.unwrap().peer()), (2, 0));
    });
}

#[test]
fn noise_in_place_of_a_handshake_is_refused_every_time() {
    run_alone(|| async {
        let cluster = Cluster::new();
        let listener = listener();
        let address = listener.address();
        for own in [cluster.node(2), plain_member(2)] {
            for round in 0..30 {
                let mut noise = random_bytes::<512>();
                // Every third looks like the head of a TLS record, every third like ours.
                match round % 3 {
                    0 => noise[..5].copy_from_slice(&[22, 3, 1, 1, 0]),
                    1 => noise[..5].copy_from_slice(b"WLCH\x01"),
                    _ => {}
                }
                let noisy = async {
                    let stream = knock(address, &noise).await;
                    stream.shutdown_write();
                    stream
                };
                let both = zip(noisy, admit(&listener, &own));
                let (_stream, other) = timeout(NOBODY_WAITS, both).await.unwrap();
                assert!(other.is_err(), "round {round}");
            }
        }
    });
}
