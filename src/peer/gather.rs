//! Asks machines how far they are, and answers, before there is a cluster.

use std::io;
use std::net::SocketAddr;

use super::auth_error::AuthError;
use super::gather_message::{
    ANSWER_BYTES, QUESTION_BYTES, Standing, decode_question, encode_question,
};
use super::join_secret::JoinSecret;
use super::listener::Newcomer;
use super::node::look_up_all;
use super::plain::{receive, send};
use super::preamble::Purpose;
use crate::base::limits::{HANDSHAKE_TIMEOUT, PEER_CONNECT_TIMEOUT, PEER_DIAL_TIMEOUT};
use crate::base::random_bytes;
use crate::net::{self, Stream};
use crate::runtime::timeout;

/// A machine did not say how far it is.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Its name is not known.
    #[error("its name is not known")]
    Resolve(#[source] io::Error),
    /// Nothing answers there.
    #[error("nothing answers there")]
    Connect(#[source] net::Error),
    /// It did not answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// It closed the connection.
    #[error(
        "it does not answer this node: has it the same `cluster.name` and `cluster.join_secret`?"
    )]
    Closed,
    /// What it said does not come from a node with the same name and secret.
    #[error("it has another `cluster.name` or `cluster.join_secret`")]
    Sealed,
}

/// Every address that a name stands for, found off the executor.
pub async fn addresses_of(name: &str) -> Result<Vec<SocketAddr>, GatherError> {
    let resolved = timeout(PEER_DIAL_TIMEOUT, look_up_all(name)).await;
    let resolved = resolved.map_err(|_| GatherError::TimedOut)?;
    resolved.map_err(GatherError::Resolve)
}

/// Asks the machine at `address` how far it is.
pub async fn ask_standing(
    address: SocketAddr,
    secret: &JoinSecret,
) -> Result<Standing, GatherError> {
    let connecting = timeout(PEER_CONNECT_TIMEOUT, Stream::connect(address)).await;
    let connected = connecting.map_err(|_| GatherError::TimedOut)?;
    let mut stream = connected.map_err(GatherError::Connect)?;
    let nonce = random_bytes();
    let asking = async {
        send(&mut stream, &Purpose::Gather.preamble()).await?;
        send(&mut stream, &encode_question(secret, &nonce)).await?;
        receive::<ANSWER_BYTES>(&mut stream).await
    };
    let answered: Result<Result<_, AuthError>, _> = timeout(PEER_DIAL_TIMEOUT, asking).await;
    let answer = answered.map_err(|_| GatherError::TimedOut)?;
    let answer = answer.map_err(|_| GatherError::Closed)?;
    Standing::decode(secret, &nonce, &answer).ok_or(GatherError::Sealed)
}

impl Newcomer {
    /// Answers a machine that asks how far this one is, if it has the same secret.
    pub async fn tell_standing(
        self,
        secret: &JoinSecret,
        standing: &Standing,
    ) -> Result<(), AuthError> {
        let mut stream = self.stream;
        let answering = async {
            let question = receive::<QUESTION_BYTES>(&mut stream).await?;
            let nonce = decode_question(secret, &question).ok_or(AuthError::Secret)?;
            send(&mut stream, &standing.encode(secret, &nonce)).await
        };
        let answered = timeout(HANDSHAKE_TIMEOUT, answering).await;
        answered.unwrap_or(Err(AuthError::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::testing::listen;
    use crate::runtime::run_alone;
    use crate::telemetry::Metrics;
    use futures_lite::future::zip;
    use std::sync::Arc;

    #[test]
    fn who_has_the_secret_is_told_and_nobody_else() {
        run_alone(|| async {
            let secret = |name: &str| JoinSecret::new(name, b"0123456789abcdef").unwrap();
            let listener = listen(&Arc::new(Metrics::new()));
            let standing = Standing::Waits {
                machine: [1; 16],
                plan: [2; 32],
                is_founder: true,
            };
            let ask = async |asking: JoinSecret| {
                let answer = async {
                    let newcomer = listener.accept().await.unwrap();
                    assert_eq!(newcomer.purpose, Purpose::Gather);
                    newcomer.tell_standing(&secret("ours"), &standing).await
                };
                zip(ask_standing(listener.address(), &asking), answer).await
            };
            let (told, answered) = ask(secret("ours")).await;
            assert_eq!(told.unwrap(), standing);
            assert!(answered.is_ok());
            let (told, answered) = ask(secret("theirs")).await;
            assert!(matches!(told, Err(GatherError::Closed)), "{told:?}");
            assert!(matches!(answered, Err(AuthError::Secret)));
            assert!(!addresses_of("localhost:1").await.unwrap().is_empty());
            assert!(addresses_of("localhost").await.is_err());
        });
    }
}
