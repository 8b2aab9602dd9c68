//! An issuer of signed identities that publishes its keys over HTTPS: it rotates them,
//! goes down, is slow, and answers nonsense, as the test wants it.

use std::fs;
use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flume::{Receiver, Sender};
use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::crypto::aws_lc_rs;
use futures_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use windlass::auth::SigningKey;

use super::server::now_seconds;

const RSA_KEY: &[u8] = include_bytes!("../fixtures/auth/rsa.key");
/// Shown for a request that gets no answer.
const HELD: &str = "held";
/// Nothing here takes so long on its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the issuer does with the next requests.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Publishes this document as its keys.
    Keys(String),
    /// The same, good for a day.
    Lasting(String),
    /// Asks for this bearer token, and publishes.
    Guarded(String, String),
    /// Hangs up on everybody.
    Down,
    /// Says nothing until the test wants something else.
    Held,
    /// Leads elsewhere.
    Redirect(String),
}

/// The issuer. Its thread ends with the process.
pub(crate) struct TestIssuer {
    /// `iss` of its tokens, and where it is.
    pub(crate) url: String,
    /// The certificate of its authority.
    pub(crate) ca_file: PathBuf,
    /// That of another one.
    pub(crate) other_ca_file: PathBuf,
    wishes: Sender<Behaviour>,
    seen: Receiver<String>,
    _home: TempDir,
}

/// What it signs with.
pub(crate) struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// A new key for ES256.
    pub(crate) fn p256(id: &'static str) -> Self {
        let pem = SigningKey::generate_pem().unwrap();
        Self {
            id,
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
        }
    }

    /// The key for RS256.
    pub(crate) fn rsa(id: &'static str) -> Self {
        Self {
            id,
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(RSA_KEY).unwrap(),
        }
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.id.to_owned()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.key).unwrap()
    }

    fn published(&self) -> Value {
        let key = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut key = serde_json::to_value(key).unwrap();
        key["kid"] = self.id.into();
        key["use"] = "sig".into();
        key
    }
}

/// The key set of these signers, with keys that nobody should use.
pub(crate) fn key_set(signers: &[&Signer]) -> String {
    let mut keys: Vec<_> = signers.iter().map(|each| each.published()).collect();
    keys.push(json!({ "kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0" }));
    json!({ "keys": keys }).to_string()
}

impl TestIssuer {
    pub(crate) fn start(first: Behaviour) -> Self {
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let [ca_file, other_ca_file] = ["ca.pem", "other.pem"].map(|name| home.path().join(name));
        let config = certified(&ca_file);
        certified(&other_ca_file);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (wishes, wished) = flume::unbounded();
        let (shown, seen) = flume::unbounded();
        let serving = Serving {
            url: url.clone(),
            behaviour: first,
            wished,
            shown,
        };
        std::thread::spawn(move || serving.run(&listener, &config));
        Self {
            url,
            ca_file,
            other_ca_file,
            wishes,
            seen,
            _home: home,
        }
    }

    /// From the next request on.
    pub(crate) fn becomes(&self, behaviour: Behaviour) {
        self.wishes.send(behaviour).unwrap();
    }

    /// How often it was asked where its keys are since the last look.
    pub(crate) fn asked(&self) -> usize {
        self.seen
            .drain()
            .filter(|path| path.contains("openid"))
            .count()
    }

    /// Waits until somebody waits for an answer.
    pub(crate) fn wait_held(&self) {
        while self.seen.recv_timeout(PATIENCE).unwrap() != HELD {}
    }

    /// The claims that every token of this issuer has, for `audience`.
    pub(crate) fn claims(&self, audience: &str, subject: &str) -> Value {
        let now = now_seconds();
        json!({ "iss": self.url, "aud": audience, "sub": subject, "iat": now, "nbf": now,
            "exp": now + 3600 })
    }
}

/// A server on this machine that a new authority vouches for, whose certificate it
/// writes down.
fn certified(ca_file: &std::path::Path) -> Arc<ServerConfig> {
    let made = windlass::net::SelfSigned::make(
        &["127.0.0.1".to_owned()],
        &windlass::base::Clock::system(),
    );
    let made = made.unwrap();
    fs::write(ca_file, &made.certificate).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}

/// The side of the thread.
struct Serving {
    url: String,
    behaviour: Behaviour,
    wished: Receiver<Behaviour>,
    shown: Sender<String>,
}

impl Serving {
    fn run(mut self, listener: &TcpListener, config: &Arc<ServerConfig>) {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let session = ServerConnection::new(Arc::clone(config)).unwrap();
            // Whoever hangs up, or trusts nobody, is gone.
            drop(self.serve(StreamOwned::new(session, stream)));
        }
    }

    fn serve(
        &mut self,
        mut stream: StreamOwned<ServerConnection, TcpStream>,
    ) -> std::io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        // The test may be over.
        drop(self.shown.send(path.clone()));
        while let Ok(wish) = self.wished.try_recv() {
            self.behaviour = wish;
        }
        while matches!(self.behaviour, Behaviour::Held) {
            drop(self.shown.send(HELD.to_owned()));
            let Ok(wish) = self.wished.recv() else {
                return Ok(());
            };
            self.behaviour = wish;
        }
        if let Some(answer) = self.answer(&head, &path) {
            stream.write_all(answer.as_bytes())?;
            stream.flush()?;
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        Ok(())
    }

    fn answer(&self, head: &str, path: &str) -> Option<String> {
        let keys = match &self.behaviour {
            Behaviour::Down | Behaviour::Held => return None,
            Behaviour::Redirect(to) => {
                return Some(format!(
                    "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                ));
            }
            Behaviour::Guarded(secret, _) if !is_shown(head, secret) => {
                return Some("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned());
            }
            Behaviour::Keys(keys) | Behaviour::Lasting(keys) | Behaviour::Guarded(_, keys) => keys,
        };
        let body = if path == "/keys" {
            keys.clone()
        } else {
            let keys = format!("{}/keys", self.url);
            json!({ "issuer": self.url, "jwks_uri": keys }).to_string()
        };
        let bytes = body.len();
        let is_lasting = matches!(self.behaviour, Behaviour::Lasting(_));
        let age = if is_lasting { 86_400 } else { 0 };
        Some(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age={age}\r\n\
             Content-Length: {bytes}\r\n\r\n{body}"
        ))
    }
}

fn is_shown(head: &str, secret: &str) -> bool {
    let wanted = format!("authorization: Bearer {secret}").to_lowercase();
    head.to_lowercase().lines().any(|line| line == wanted)
}
