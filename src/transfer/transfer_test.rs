//! Tests of transfers over the loopback: the right bytes come, or a typed end.

use super::*;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::net::SocketAddr;

use futures_lite::future::zip;

use crate::base::Clock;
use crate::base::limits::PEER_IDLE_LINKS_MAX;
use crate::base::units::to_u32;
use crate::oci::{Algorithm, Digest};
use crate::peer::Authority;
use crate::peer::TlsMaterial;
use crate::peer::connect;
use crate::peer::testing::{NOBODY_WAITS, listen, member, node, until, welcome};
use crate::peer::{ClusterId, PeerIdentity};
use crate::runtime::{Task, run_alone, spawn};
use crate::transfer::error::ServeTransferError;
use crate::transfer::message::TransferRefusal;
use crate::transfer::serve::{Asked, TransferServer};

const FILE_BYTES: usize = 64 * 1024 * 1024;
const GENERATION_ID: u64 = 3;

fn secured(count: u64) -> Vec<Security> {
    let cluster = ClusterId::parse(&"a".repeat(32)).unwrap();
    let authority = Authority::make(cluster, &Clock::system()).unwrap();
    let node = |node| {
        let credentials = authority.issue(node, &Clock::system()).unwrap();
        let material = TlsMaterial::member(PeerIdentity { cluster, node }, &credentials);
        Security::Tls(material.unwrap())
    };
    (1..=count).map(node).collect()
}

/// A node with one blob, which serves transfers until it is dropped.
struct Holder {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    content: Rc<Vec<u8>>,
    /// Stops after so many bytes of an answer.
    cut_after: Rc<Cell<Option<u64>>>,
    ends: Rc<RefCell<Vec<Result<(), ServeTransferError>>>>,
    _accepting: Task<()>,
}

impl Holder {
    fn start(security: Security, bytes: usize) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), security, bytes)
    }

    fn start_at(address: SocketAddr, security: Security, bytes: usize) -> Self {
        let metrics = Arc::new(Metrics::new());
        let listener = crate::peer::PeerListener::bind(address, Arc::clone(&metrics));
        let listener = listener.unwrap();
        let address = listener.address();
        let content: Vec<u8> = (0..to_u32(bytes))
            .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        let content = Rc::new(content);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        file.rewind().unwrap();
        let file = Rc::new(file);
        let cut_after = Rc::new(Cell::new(None));
        let ends = Rc::new(RefCell::new(Vec::new()));
        let served = Rc::clone(&content);
        let (cut, ended) = (Rc::clone(&cut_after), Rc::clone(&ends));
        let accepting = spawn(async move {
            let mut serving = Vec::new();
            loop {
                let Ok(link) = welcome(&listener, &security).await else {
                    continue;
                };
                let server = TransferServer::new(link);
                let (file, content) = (Rc::clone(&file), Rc::clone(&served));
                let (cut, ended) = (Rc::clone(&cut), Rc::clone(&ended));
                serving.push(spawn(async move {
                    let end = serve(server, &file, &content, &cut).await;
                    ended.borrow_mut().push(end);
                }));
            }
        });
        Self {
            address,
            metrics,
            content,
            cut_after,
            ends,
            _accepting: accepting,
        }
    }

    fn opened(&self) -> u64 {
        self.metrics.peer.connections_opened.value()
    }
}

async fn serve(
    mut server: TransferServer,
    file: &File,
    content: &[u8],
    cut_after: &Cell<Option<u64>>,
) -> Result<(), ServeTransferError> {
    let size = to_u64(content.len());
    while let Some(Asked::Content(request)) = server.next().await? {
        if request.digest != digest() || request.generation != GENERATION_ID {
            server.refuse(TransferRefusal::NotHere).await?;
            continue;
        }
        if request.bytes_of(size).is_none() {
            server.refuse(TransferRefusal::NoSuchRange).await?;
            continue;
        }
        let mut answer = server.answer(&request, size).await?;
        let mut position = request.offset;
        let mut is_file = true;
        while answer.left_bytes() > 0 {
            if cut_after
                .get()
                .is_some_and(|bytes| position - request.offset >= bytes)
            {
                break;
            }
            let step = answer.left_bytes().min(1_000_000);
            if is_file {
                answer.send_file(file, position, step).await?;
            } else {
                let (start, end) = (index_of(position), index_of(position + step));
                answer.send(&content[start..end]).await?;
            }
            is_file = !is_file;
            position += step;
        }
    }
    Ok(())
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"the test's blob")
}

fn request(offset: u64, bytes: u64) -> TransferRequest {
    TransferRequest {
        digest: digest(),
        generation: GENERATION_ID,
        offset,
        bytes,
    }
}

fn transfers(security: Security) -> Transfers {
    Transfers::new(security, Arc::new(Metrics::new()))
}

/// Reads to the end, through a buffer of `piece_bytes`.
async fn read_all(incoming: &mut Incoming, piece_bytes: usize) -> Result<Vec<u8>, TransferError> {
    let mut all = Vec::new();
    let mut piece = vec![0; piece_bytes];
    loop {
        match incoming.fill(&mut piece).await? {
            0 => return Ok(all),
            count => all.extend(&piece[..count]),
        }
    }
}

fn refusal(outcome: Result<Incoming, TransferError>) -> TransferRefusal {
    match outcome {
        Err(TransferError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_blob_comes_whole_over_either_kind_of_link() {
    run_alone(|| async {
        let mut secured = secured(2);
        let kinds = [
            (member(1), member(2)),
            (secured.remove(0), secured.remove(0)),
        ];
        for (own, other) in kinds {
            let holder = Holder::start(other, FILE_BYTES);
            let transfers = transfers(own);
            let target = node(2, holder.address);
            let mut incoming = transfers
                .fetch(&target, &request(0, u64::MAX))
                .await
                .unwrap();
            assert_eq!(incoming.size(), to_u64(FILE_BYTES));
            let all = read_all(&mut incoming, 512 * 1024).await.unwrap();
            assert!(all == *holder.content);
            assert!(holder.metrics.peer.sent_bytes.value() > to_u64(FILE_BYTES));
        }
    });
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    run_alone(|| async {
        let holder = Holder::start(member(2), 3_000_000);
        let transfers = transfers(member(1));
        let target = node(2, holder.address);
        for (offset, bytes, expected) in [
            (0, 10, 0..10),
            (2_999_990, 100, 2_999_990..3_000_000),
            (3_000_000, 5, 3_000_000..3_000_000),
            (1_000_000, 1_500_001, 1_000_000..2_500_001),
            (7, 0, 7..7),
        ] {
            let mut incoming = transfers
                .fetch(&target, &request(offset, bytes))
                .await
                .unwrap();
            assert_eq!(incoming.left_bytes(), to_u64(expected.len()));
            let read = read_all(&mut incoming, 70_001).await.unwrap();
            assert!(read == holder.content[expected]);
        }
        let beyond = transfers.fetch(&target, &request(3_000_001, 1)).await;
        assert_eq!(refusal(beyond), TransferRefusal::NoSuchRange);
        let older = TransferRequest {
            generation: 2,
            ..request(0, 1)
        };
        let unknown = transfers.fetch(&target, &older).await;
        assert_eq!(refusal(unknown), TransferRefusal::NotHere);
        assert_eq!(holder.opened(), 1);
    });
}

#[test]
fn a_transfer_that_is_cut_says_so_and_goes_on_elsewhere() {
    run_alone(|| async {
        let holder = Holder::start(member(2), 8_000_000);
        let other = Holder::start(member(3), 8_000_000);
        let transfers = transfers(member(1));
        holder.cut_after.set(Some(3_000_000));
        let target = node(2, holder.address);
        let mut incoming = transfers
            .fetch(&target, &request(0, u64::MAX))
            .await
            .unwrap();
        let mut all = vec![0; 8_000_000];
        let mut position = 0;
        let error = loop {
            match incoming.read(&mut all[position..]).await {
                Ok(count) => position += count,
                Err(error) => break error,
            }
        };
        assert_eq!(position, 3_000_000);
        let is_cut = matches!(
            error,
            TransferError::Cut {
                left_bytes: 5_000_000
            }
        );
        assert!(
            is_cut || matches!(error, TransferError::Lost(_)),
            "{error:?}"
        );
        until(|| !holder.ends.borrow().is_empty()).await;
        let unfinished = matches!(
            holder.ends.borrow()[0],
            Err(ServeTransferError::Unfinished {
                left_bytes: 5_000_000
            })
        );
        assert!(unfinished);
        let rest = request(to_u64(position), u64::MAX);
        let target = node(3, other.address);
        let mut incoming = transfers.fetch(&target, &rest).await.unwrap();
        let rest = incoming.fill(&mut all[position..]).await.unwrap();
        assert_eq!(position + rest, 8_000_000);
        assert!(all == *holder.content);
    });
}

#[test]
fn content_that_is_not_wanted_any_more_costs_its_connection_only() {
    run_alone(|| async {
        let holder = Holder::start(member(2), FILE_BYTES);
        let transfers = transfers(member(1));
        let target = node(2, holder.address);
        let mut incoming = transfers
            .fetch(&target, &request(0, u64::MAX))
            .await
            .unwrap();
        incoming.fill(&mut [0; 1000]).await.unwrap();
        drop(incoming);
        until(|| !holder.ends.borrow().is_empty()).await;
        assert!(matches!(
            holder.ends.borrow()[0],
            Err(ServeTransferError::Gone(_))
        ));
        let mut incoming = transfers.fetch(&target, &request(5, 5)).await.unwrap();
        assert!(read_all(&mut incoming, 10).await.unwrap() == holder.content[5..10]);
        assert_eq!(holder.opened(), 2);
    });
}

#[test]
fn an_idle_connection_that_died_is_replaced() {
    run_alone(|| async {
        let holder = Holder::start(member(2), 1000);
        let address = holder.address;
        let transfers = transfers(member(1));
        let target = node(2, address);
        let fetch = async || {
            let mut incoming = transfers.fetch(&target, &request(0, 1000)).await?;
            read_all(&mut incoming, 1000).await
        };
        fetch().await.unwrap();
        drop(holder);
        let again = Holder::start_at(address, member(2), 1000);
        assert!(fetch().await.unwrap() == *again.content);
        drop(again);
        let gone = fetch().await;
        assert!(
            matches!(gone, Err(TransferError::Unreachable(_))),
            "{gone:?}"
        );
    });
}

#[test]
fn no_more_connections_are_kept_than_the_bound() {
    run_alone(|| async {
        let holder = Holder::start(member(2), 100);
        let counted = Arc::new(Metrics::new());
        let transfers = Transfers::new(member(1), Arc::clone(&counted));
        let target = node(2, holder.address);
        let wanted = request(0, 100);
        let count = PEER_IDLE_LINKS_MAX + 3;
        let fetching = (0..count).map(|_| transfers.fetch(&target, &wanted));
        let all = futures_util::future::join_all(fetching).await;
        for incoming in all {
            read_all(&mut incoming.unwrap(), 100).await.unwrap();
        }
        assert_eq!(holder.opened(), to_u64(count));
        let connections = || counted.peer.connections.value();
        until(|| connections() == i64::try_from(PEER_IDLE_LINKS_MAX).unwrap()).await;
    });
}

/// A node that answers whatever the test says.
async fn answer_with(answer: &[u8], limit: Duration) -> Result<Incoming, TransferError> {
    let listener = listen(&Arc::new(Metrics::new()));
    let target = node(2, listener.address());
    let own = member(1);
    let transfers = Transfers::with_stall_max(own, Arc::new(Metrics::new()), limit);
    let wanted = request(0, 10);
    let odd = async {
        let mut link = welcome(&listener, &member(2)).await.unwrap();
        let mut request = [0; 104];
        link.read_exact(&mut request).await.unwrap();
        link.write_all(answer).await.unwrap();
        link
    };
    let both = Box::pin(zip(transfers.fetch(&target, &wanted), odd));
    let (outcome, link) = timeout(NOBODY_WAITS, both).await.unwrap();
    let mut incoming = outcome?;
    let error = read_all(&mut incoming, 100).await.unwrap_err();
    drop(link);
    Err(error)
}

#[test]
fn a_node_that_answers_nonsense_or_nothing_is_given_up() {
    run_alone(|| async {
        let moment = Duration::from_millis(50);
        let outcome = answer_with(&[0; 28], NOBODY_WAITS).await;
        assert!(
            matches!(outcome, Err(TransferError::Header(_))),
            "{outcome:?}"
        );
        let longer = Header::Content { size: 5, bytes: 10 }.encode();
        let outcome = answer_with(&longer, NOBODY_WAITS).await;
        assert!(
            matches!(outcome, Err(TransferError::WrongRange)),
            "{outcome:?}"
        );
        let outcome = answer_with(&longer[..20], moment).await;
        assert!(
            matches!(outcome, Err(TransferError::Stalled)),
            "{outcome:?}"
        );
        let mut stalling = Header::Content {
            size: 10,
            bytes: 10,
        }
        .encode();
        stalling.extend([1, 2, 3]);
        let outcome = answer_with(&stalling, moment).await;
        assert!(
            matches!(outcome, Err(TransferError::Stalled)),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_bad_request_ends_its_connection_and_no_other() {
    run_alone(|| async {
        let holder = Holder::start(member(2), 1000);
        let target = node(2, holder.address);
        let transfers = transfers(member(1));
        let mut link = connect(&target, Purpose::Transfer, &member(1))
            .await
            .unwrap();
        let mut damaged = request(0, 10).encode();
        damaged[40] ^= 4;
        link.write_all(&damaged).await.unwrap();
        assert_eq!(link.read(&mut [0; 10]).await.unwrap_or(0), 0);
        assert!(matches!(
            holder.ends.borrow()[0],
            Err(ServeTransferError::Request(_))
        ));
        let mut incoming = transfers.fetch(&target, &request(0, 10)).await.unwrap();
        assert!(read_all(&mut incoming, 10).await.unwrap() == holder.content[..10]);
    });
}
