//! A machine that waits for a cluster: asks the others, and answers them.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;

use super::forming::{Decision, Plan, Round, Waiting};
use crate::net;
use crate::peer::{
    ClusterId, Fingerprint, GatherError, JoinSecret, PeerListener, Purpose, Standing, addresses_of,
    ask_standing,
};
use crate::runtime::{sleep, spawn};

/// Pause between two rounds of questions.
const ROUND_PERIOD: Duration = Duration::from_millis(500);
/// What is waited for is said again after so many rounds.
const SAID_AGAIN_COUNTS: u32 = 60;

/// How the wait for a cluster ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gathered {
    /// This machine is to begin the cluster.
    Begin,
    /// There is a cluster to join.
    Join {
        /// A member of it.
        address: SocketAddr,
        /// Which one.
        cluster: ClusterId,
        /// How to know it.
        authority: Fingerprint,
    },
    /// The process is to stop.
    Stopped,
}

/// Waits until there is a cluster, or this machine is to begin one. Meanwhile it
/// answers the others at `listener`.
///
/// - Errors: the listener broke.
pub async fn gather(
    listener: PeerListener,
    secret: &JoinSecret,
    plan: &Plan,
    peers: &[String],
    stopped: impl Future<Output = ()>,
) -> Result<Gathered, net::Error> {
    let ended = async {
        stopped.await;
        Ok(Gathered::Stopped)
    };
    let answering = answer(listener, secret.clone(), plan.clone());
    let asking = async { Ok(ask(secret, plan, peers).await) };
    futures_lite::future::or(ended, futures_lite::future::or(answering, asking)).await
}

/// Answers whoever asks, until the listener breaks.
async fn answer(
    listener: PeerListener,
    secret: JoinSecret,
    plan: Plan,
) -> Result<Gathered, net::Error> {
    let secret = Rc::new(secret);
    let standing = Rc::new(Standing::Waits {
        machine: plan.machine,
        plan: plan.list,
        is_founder: plan.is_founder,
    });
    loop {
        let newcomer = listener.accept().await?;
        if newcomer.purpose != Purpose::Gather {
            // Members that look for whoever was here before.
            continue;
        }
        let (secret, standing) = (Rc::clone(&secret), Rc::clone(&standing));
        spawn(async move {
            let remote = newcomer.remote;
            if let Err(error) = newcomer.tell_standing(&secret, &standing).await {
                tracing::debug!(%remote, %error, "a machine is not told how far this one is");
            }
        })
        .detach();
    }
}

/// Asks in rounds until something follows.
async fn ask(secret: &JoinSecret, plan: &Plan, peers: &[String]) -> Gathered {
    let mut said: Option<(Waiting, Vec<String>)> = None;
    let mut rounds = 0_u32;
    loop {
        let round = ask_round(secret, peers).await;
        match plan.decide(&round) {
            Decision::Begin => return Gathered::Begin,
            Decision::Join {
                address,
                cluster,
                authority,
            } => {
                return Gathered::Join {
                    address,
                    cluster,
                    authority,
                };
            }
            Decision::Wait(waiting) => {
                let now = (waiting, round.silent);
                if rounds.is_multiple_of(SAID_AGAIN_COUNTS) || said.as_ref() != Some(&now) {
                    say(&now.0, &now.1);
                    rounds = 0;
                }
                said = Some(now);
            }
        }
        rounds += 1;
        sleep(ROUND_PERIOD).await;
    }
}

/// Asks every machine of the list at once.
async fn ask_round(secret: &JoinSecret, peers: &[String]) -> Round {
    let asked = peers.iter().map(async |name| {
        let addresses = match addresses_of(name).await {
            Ok(addresses) => addresses,
            Err(error) => return vec![Err(silence(name, &error))],
        };
        let each = addresses.into_iter().map(async |address| {
            let told = ask_standing(address, secret).await;
            let told = told.map(|standing| (address, standing));
            told.map_err(|error| silence(&format!("{name} ({address})"), &error))
        });
        join_all(each).await
    });
    let mut round = Round::default();
    for told in join_all(asked).await.into_iter().flatten() {
        match told {
            Ok(heard) => round.heard.push(heard),
            Err(silent) => round.silent.push(silent),
        }
    }
    round
}

fn silence(name: &str, error: &GatherError) -> String {
    format!("{name}: {error}")
}

/// Tells the operator what this machine waits for.
fn say(waiting: &Waiting, silent: &[String]) {
    match waiting {
        Waiting::Machines { heard, expected } => {
            tracing::info!(heard, expected, ?silent, "waiting for the other nodes");
        }
        Waiting::Surplus { heard, expected } => {
            tracing::error!(
                heard,
                expected,
                "more nodes wait than `cluster.expect` says; it must be the number of all nodes"
            );
        }
        Waiting::Founder => {
            tracing::info!("all nodes are there: waiting for the one that begins the cluster");
        }
        Waiting::OtherList { address } => {
            tracing::error!(%address, "a node has another `cluster.peers` or `cluster.expect`; they must be the same on all nodes");
        }
        Waiting::TwoFounders { address } => {
            tracing::error!(%address, "two nodes would begin the cluster: hostnames that end in -0 must be unique");
        }
        Waiting::TwoClusters { first, second } => {
            tracing::error!(%first, %second, "the nodes of `cluster.peers` belong to two clusters: this one joins neither");
        }
    }
}
