//! Tests of bytes that are taken while they come, over the loopback.

use super::*;

use std::cell::RefCell;
use std::sync::Arc;

use crate::base::Clock;
use crate::base::units::to_usize;
use crate::oci::Algorithm;
use crate::peer::Authority;
use crate::peer::Security;
use crate::peer::TlsMaterial;
use crate::peer::testing::{NOBODY_WAITS, listen, member, node, until, welcome};
use crate::peer::{ClusterId, PeerIdentity};
use crate::runtime::{Task, run_alone, spawn};
use crate::telemetry::Metrics;
use crate::transfer::error::ServeTransferError;
use crate::transfer::message::TransferRefusal;
use crate::transfer::serve::{Asked, TransferServer};
use crate::transfer::serve_take::Arriving;

/// What a taker does with what it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    /// Refuses after the first bytes.
    BreaksOff,
    /// Closes, as a node does that does not know the request.
    IsOld,
}

/// What came, and what it was said to be.
type Taken = Rc<RefCell<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A node that takes uploads until it is dropped.
struct Taker {
    target: PeerNode,
    metrics: Arc<Metrics>,
    manner: Rc<RefCell<Manner>>,
    taken: Taken,
    ends: Rc<RefCell<Vec<Result<(), ServeTransferError>>>>,
    _accepting: Task<()>,
}

impl Taker {
    fn start(security: Security) -> Self {
        let metrics = Arc::new(Metrics::new());
        let listener = listen(&metrics);
        let target = node(2, listener.address());
        let manner = Rc::new(RefCell::new(Manner::Takes));
        let taken = Taken::default();
        let ends = Rc::<RefCell<Vec<Result<(), ServeTransferError>>>>::default();
        let state = (Rc::clone(&manner), Rc::clone(&taken), Rc::clone(&ends));
        let accepting = spawn(async move {
            let mut serving = Vec::new();
            while let Ok(link) = welcome(&listener, &security).await {
                let (manner, taken, ends) = state.clone();
                serving.push(spawn(async move {
                    let end = serve(TransferServer::new(link), &manner, &taken).await;
                    ends.borrow_mut().push(end);
                }));
            }
        });
        Self {
            target,
            metrics,
            manner,
            taken,
            ends,
            _accepting: accepting,
        }
    }
}

async fn serve(
    mut server: TransferServer,
    manner: &RefCell<Manner>,
    taken: &RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
) -> Result<(), ServeTransferError> {
    while let Some(asked) = server.next().await? {
        assert_eq!(asked, Asked::Take(request()));
        let manner = *manner.borrow();
        match manner {
            Manner::IsOld => return Ok(()),
            Manner::Refuses => {
                server.refuse(TransferRefusal::Busy).await?;
                continue;
            }
            Manner::Takes | Manner::BreaksOff => {}
        }
        let mut taking = server.take().await?;
        let mut all = Vec::new();
        let end = loop {
            match taking.next().await? {
                Arriving::Bytes(_) if manner == Manner::BreaksOff => {
                    break None;
                }
                Arriving::Bytes(bytes) => {
                    let mut piece = vec![0; to_usize(bytes)];
                    let mut rest = &mut piece[..];
                    while !rest.is_empty() {
                        let count = taking.read(rest).await?;
                        rest = &mut rest[count..];
                    }
                    assert_eq!(taking.read(&mut [0]).await?, 0);
                    all.extend(piece);
                }
                Arriving::End(end) => break Some(end),
            }
        };
        match end {
            Some(end) => {
                taken.borrow_mut().push((all, end));
                taking.held().await?;
            }
            None => taking.refuse(TransferRefusal::Failed).await?,
        }
    }
    Ok(())
}

fn request() -> TakeRequest {
    TakeRequest {
        id: [7; 40],
        algorithm: Algorithm::Sha256,
    }
}

fn transfers(security: Security) -> Transfers {
    Transfers::new(security, Arc::new(Metrics::new()))
}

fn secured() -> (Security, Security) {
    let cluster = ClusterId::parse(&"a".repeat(32)).unwrap();
    let authority = Authority::make(cluster, &Clock::system()).unwrap();
    let of = |node| {
        let credentials = authority.issue(node, &Clock::system()).unwrap();
        let material = TlsMaterial::member(PeerIdentity { cluster, node }, &credentials);
        Security::Tls(material.unwrap())
    };
    (of(1), of(2))
}

#[test]
fn what_is_sent_is_taken_and_the_connection_is_used_again() {
    run_alone(|| async {
        for (own, other) in [(member(1), member(2)), secured()] {
            let taker = Taker::start(other);
            let transfers = transfers(own);
            for bytes in [1, 70_000, 4_000_000_usize] {
                let content: Vec<u8> = (0..=250).cycle().take(bytes).collect();
                let mut outgoing = transfers.tee(&taker.target, &request()).await.unwrap();
                for piece in content.chunks(512 * 1024) {
                    outgoing.send(piece).await.unwrap();
                }
                outgoing.end(b"all", NOBODY_WAITS).await.unwrap();
                let taken = taker.taken.borrow_mut().pop().unwrap();
                assert!(taken == (content, b"all".to_vec()));
            }
            assert_eq!(taker.metrics.peer.connections_opened.value(), 1);
        }
    });
}

#[test]
fn a_refusal_leaves_the_connection_and_a_late_one_ends_it() {
    run_alone(|| async {
        let taker = Taker::start(member(2));
        let transfers = transfers(member(1));
        *taker.manner.borrow_mut() = Manner::Refuses;
        let refused = transfers.tee(&taker.target, &request()).await;
        assert!(matches!(
            refused,
            Err(TransferError::Refused(TransferRefusal::Busy))
        ));
        *taker.manner.borrow_mut() = Manner::BreaksOff;
        let mut outgoing = transfers.tee(&taker.target, &request()).await.unwrap();
        let piece = vec![7; 512 * 1024];
        let error = loop {
            if let Err(error) = outgoing.send(&piece).await {
                break error;
            }
        };
        let is_told = matches!(error, TransferError::Refused(TransferRefusal::Failed));
        assert!(
            is_told || matches!(error, TransferError::Lost(_)),
            "{error:?}"
        );
        drop(outgoing);
        until(|| !taker.ends.borrow().is_empty()).await;
        let ends = taker.ends.borrow();
        assert!(matches!(
            ends[0],
            Err(ServeTransferError::Unfinished { .. })
        ));
        assert_eq!(taker.metrics.peer.connections_opened.value(), 1);
    });
}

#[test]
fn a_node_that_is_too_old_and_one_that_gives_up_are_noticed() {
    run_alone(|| async {
        let taker = Taker::start(member(2));
        let transfers = transfers(member(1));
        let mut outgoing = transfers.tee(&taker.target, &request()).await.unwrap();
        outgoing.send(b"some").await.unwrap();
        drop(outgoing);
        until(|| !taker.ends.borrow().is_empty()).await;
        let is_gone = matches!(taker.ends.borrow()[0], Err(ServeTransferError::Gone(_)));
        assert!(is_gone && taker.taken.borrow().is_empty());
        *taker.manner.borrow_mut() = Manner::IsOld;
        let old = transfers.tee(&taker.target, &request()).await;
        assert!(matches!(old, Err(TransferError::Lost(_))));
    });
}
