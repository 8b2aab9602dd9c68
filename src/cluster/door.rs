//! Accepts at the peer port and hands connections on by their purpose.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::admission::Admitter;
use crate::net;
use crate::peer::{
    self, Call, HandedOver, JoinSecret, Newcomer, PeerListener, Purpose, Refusal, RefusalCode,
    Security, Service, Standing,
};
use crate::runtime::spawn;

/// The door of a node for other nodes. One per process, on the raft core.
#[derive(Debug)]
pub struct Door<H> {
    security: Security,
    /// Serves the calls of members.
    handler: Rc<H>,
    admission: Rc<Admitter>,
    /// What machines of a list are told, and what they must know for it.
    standing: Option<Rc<(JoinSecret, Standing)>>,
    /// Where the data shards wait for connections that move blobs.
    shards: Vec<flume::Sender<HandedOver>>,
}

impl<H> Door<H>
where
    H: AsyncFn(Call) -> Result<Bytes, Refusal> + 'static,
{
    /// A door whose members' calls `handler` serves.
    #[must_use]
    pub fn new(
        security: Security,
        handler: H,
        admission: Admitter,
        shards: Vec<flume::Sender<HandedOver>>,
    ) -> Self {
        Self {
            security,
            handler: Rc::new(handler),
            admission: Rc::new(admission),
            standing: None,
            shards,
        }
    }

    /// The same, telling machines of a list that know `secret` that there is a cluster.
    #[must_use]
    pub fn telling(self, secret: JoinSecret, standing: Standing) -> Self {
        Self {
            standing: Some(Rc::new((secret, standing))),
            ..self
        }
    }

    /// Takes connections until `stopped`; those for calls then end with the executor.
    ///
    /// - Errors: the listener broke.
    pub async fn serve(
        self,
        listener: PeerListener,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), net::Error> {
        let mut stopped = Box::pin(stopped);
        let mut turn = 0_usize;
        loop {
            let next = async { Some(listener.accept().await) };
            let end = async {
                stopped.as_mut().await;
                None
            };
            let Some(newcomer) = futures_lite::future::or(end, next).await else {
                return Ok(());
            };
            let newcomer = newcomer?;
            match newcomer.purpose {
                Purpose::Calls => self.take_calls(newcomer),
                Purpose::Join => self.take_join(newcomer),
                Purpose::Gather => self.take_question(newcomer),
                Purpose::Transfer | Purpose::Upload => {
                    turn = turn.wrapping_add(1);
                    self.hand_over(newcomer, turn);
                }
            }
        }
    }

    fn take_calls(&self, newcomer: Newcomer) {
        let (security, handler) = (self.security.clone(), Rc::clone(&self.handler));
        spawn(async move {
            let remote = newcomer.remote;
            match newcomer.authenticate(&security).await {
                Ok(link) => peer::serve_calls(link, handler).await,
                Err(error) => refuse(remote, &error),
            }
        })
        .detach();
    }

    fn take_join(&self, newcomer: Newcomer) {
        let (security, admission) = (self.security.clone(), Rc::clone(&self.admission));
        spawn(async move {
            let remote = newcomer.remote;
            let handler = async move |call: Call| match call.service {
                Service::Join => admission.admit(&call).await,
                _ => Err(Refusal::new(
                    RefusalCode::NotAllowed,
                    "a node that is no member may only join",
                )),
            };
            match newcomer.authenticate(&security).await {
                Ok(link) => peer::serve_calls(link, Rc::new(handler)).await,
                Err(error) => refuse(remote, &error),
            }
        })
        .detach();
    }

    fn take_question(&self, newcomer: Newcomer) {
        let Some(known) = self.standing.clone() else {
            return;
        };
        spawn(async move {
            let remote = newcomer.remote;
            let (secret, standing) = &*known;
            if let Err(error) = newcomer.tell_standing(secret, standing).await {
                refuse(remote, &error);
            }
        })
        .detach();
    }

    /// Passes the socket to a data shard, which goes on with the proofs there.
    fn hand_over(&self, newcomer: Newcomer, turn: usize) {
        let remote = newcomer.remote;
        let index = turn.checked_rem(self.shards.len()).unwrap_or_default();
        match (newcomer.detach(), self.shards.get(index)) {
            // A shard that has ended takes nothing; the other node sees its socket close.
            (Ok(handed), Some(shard)) => drop(shard.send(handed)),
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!(%remote, %error, "a connection cannot be handed to a shard");
            }
        }
    }
}

fn refuse(remote: SocketAddr, error: &peer::AuthError) {
    tracing::warn!(%remote, error = error as &dyn std::error::Error, "a node is refused at the peer port");
}
