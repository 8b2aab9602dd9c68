//! Replication as one shard sees it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::future::or;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::announce::announce;
use super::attempt::Urgency;
use super::blob_file::BlobFile;
use super::coordinator::Coordinator;
use super::doubts::{Doubts, look_again};
use super::fetch;
use super::letter::Order;
use super::parked::Parked;
use super::repair::Flights;
use super::share::Share;
use super::shared::Shared;
use super::spread::Told;
use super::tee::{Refusals, Tee, run_tees};
use crate::base::Clock;
use crate::blob::{Import, Store};
use crate::peer::Calls;
use crate::runtime::{Panicked, Task, end_process, spawn_bulk, spawn_prompt};
use crate::transfer::Transfers;

/// Fetches, serves and follows blobs on one shard; `Clone` is another handle on the
/// same shard. Made once per shard, on its executor; the first shard's also decides for
/// the whole node what is fetched next. Its tasks end with the last handle: what they
/// were fetching begins again at the next start.
#[derive(Clone)]
pub struct Replicator(Rc<Owned>);

struct Owned {
    worker: Rc<Worker>,
    _tasks: Vec<Task<()>>,
}

/// What the tasks of one shard share.
pub(super) struct Worker {
    pub(super) shared: Shared,
    pub(super) store: Store,
    pub(super) calls: Calls,
    pub(super) transfers: Transfers,
    pub(super) clock: Clock,
    pub(super) parked: RefCell<Parked<Import>>,
    /// Requests of other nodes being served.
    pub(super) serving: Cell<usize>,
    /// Fetches that somebody waits for.
    pub(super) urgent: Cell<usize>,
    /// Pooled memory that copies hold.
    pub(super) share: Rc<Share>,
    /// The way to the task that passes uploads on.
    pub(super) tees: flume::Sender<Tee>,
    pub(super) refusals: RefCell<Refusals>,
    /// Copies that the state may not know yet.
    pub(super) told: RefCell<Told>,
    /// Files that failed and stay.
    pub(super) doubts: RefCell<Doubts>,
    /// Files that are being given up.
    pub(super) flights: RefCell<Flights>,
    /// Uploads of other nodes being taken.
    pub(super) taking: Cell<usize>,
}

impl Replicator {
    /// Starts replication on the data shard numbered `shard`, from 0.
    ///
    /// - Panics: when `shard` is not below the `shards` it was made for.
    #[must_use]
    pub fn new(shared: Shared, shard: u16, store: Store, calls: Calls) -> Self {
        let inbox = shared.orders_of(shard);
        let metrics = Arc::clone(shared.metrics());
        let transfers = Transfers::new(shared.security().clone(), metrics);
        let (tees, teed) = flume::unbounded();
        let share = Rc::new(Share::new(store.pool_bytes()));
        let worker = Rc::new(Worker {
            shared,
            store,
            calls,
            transfers,
            clock: Clock::system(),
            parked: RefCell::new(Parked::new()),
            serving: Cell::new(0),
            urgent: Cell::new(0),
            share,
            tees,
            refusals: RefCell::default(),
            told: RefCell::default(),
            doubts: RefCell::default(),
            flights: RefCell::default(),
            taking: Cell::new(0),
        });
        let mut tasks = vec![
            lasting(take_orders(Rc::clone(&worker), inbox)),
            lasting(run_tees(Rc::clone(&worker), teed)),
            lasting(look_again(Rc::clone(&worker))),
        ];
        if shard == 0 {
            let (announced, queue) = flume::unbounded();
            let coordinator = Coordinator::new(Rc::clone(&worker), announced);
            tasks.push(lasting(coordinator.run()));
            tasks.push(lasting(announce(worker.shared.clone(), queue)));
        }
        Self(Rc::new(Owned {
            worker,
            _tasks: tasks,
        }))
    }

    /// What all executors share; serves calls of other nodes.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.0.worker.shared
    }

    /// Number of this node.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.0.worker.shared.options().node
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.0.worker
    }
}

impl fmt::Debug for Replicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicator")
            .field("store", &self.0.worker.store)
            .finish_non_exhaustive()
    }
}

/// Starts a task without which the node does not replicate. A panic in it ends the
/// process: a node that looks alive and fetches nothing is worse than one that starts
/// again.
fn lasting(work: impl Future<Output = ()> + 'static) -> Task<()> {
    let task = spawn_prompt(work);
    spawn_prompt(async move {
        if let Err(panic) = task.await {
            end_process(&format!("replication: {panic}"));
        }
    })
}

/// What wakes [`take_orders`].
enum Event {
    Ordered(Result<Order, flume::RecvError>),
    Ended(Result<(BlobFile, u64), Panicked>),
}

/// Carries out what the coordinator orders. Owns the fetches of the shard.
async fn take_orders(worker: Rc<Worker>, inbox: flume::Receiver<Order>) {
    let mut fetches = FuturesUnordered::new();
    // Dropping a sender stops its fetch.
    let mut stops: BTreeMap<BlobFile, (u64, flume::Sender<Infallible>)> = BTreeMap::new();
    let mut last_number = 0;
    loop {
        let ordered = async { Event::Ordered(inbox.recv_async().await) };
        let ended = async {
            match fetches.next().await {
                Some(ended) => Event::Ended(ended),
                None => std::future::pending().await,
            }
        };
        match or(ordered, ended).await {
            Event::Ordered(Ok(Order::Fetch(fetch))) => {
                let (stop, is_stopped) = flume::bounded(1);
                last_number += 1;
                let (file, number, urgency) = (fetch.file(), last_number, fetch.urgency);
                stops.insert(file, (number, stop));
                let running = fetch::run(Rc::clone(&worker), fetch, is_stopped);
                let fetching = async move {
                    running.await;
                    (file, number)
                };
                fetches.push(match urgency {
                    Urgency::OnDemand => spawn_prompt(fetching),
                    Urgency::Background => spawn_bulk(fetching),
                });
            }
            Event::Ordered(Ok(Order::Forget(file))) => {
                drop(stops.remove(&file));
                drop(worker.parked.borrow_mut().take(&file));
                // Before the next order, which may begin the same blob anew.
                let BlobFile { digest, generation } = file;
                worker.store.forget_import(&digest, generation).await;
            }
            Event::Ordered(Err(_)) => return,
            Event::Ended(Ok((file, number))) => {
                // The next one of the same blob may have begun already.
                if stops.get(&file).is_some_and(|(begun, _)| *begun == number) {
                    drop(stops.remove(&file));
                }
            }
            // It has told the coordinator that it ended; its stop is replaced by the
            // next one's.
            Event::Ended(Err(_)) => {}
        }
    }
}
