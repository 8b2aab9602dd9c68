//! The buffers of one shard.

use std::sync::Arc;

use super::budget::{Budget, Permit};
use super::buffer::Buffer;
use crate::base::limits::MOVE_BYTES_MAX;
use crate::base::units::{SECTOR_BYTES, to_usize};
use crate::telemetry::Metrics;

/// What the region's allocator needs for its own lists, generously.
const REGION_OVERHEAD_BYTES: u32 = 64 * 1024;

/// Bytes an executor's region must have for a pool of `pool_bytes`.
#[must_use]
pub const fn region_bytes(pool_bytes: u32) -> u32 {
    pool_bytes + REGION_OVERHEAD_BYTES
}

/// Buffers and permits of one shard. Cheap to clone; stays on its shard.
///
/// The memory is the executor's region, a buddy allocator over one mapping, so that
/// a buffer is memory that was in use a moment ago: hashing fresh pages runs at half
/// the speed. When the budget is used up, callers wait in line; nobody allocates.
/// A request whose first buffer waits must only *try* for further ones, or many of
/// them can each hold a part of what all of them need.
#[derive(Debug, Clone)]
pub struct Pool {
    budget: Budget,
}

/// How a pool is used, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// The whole budget.
    pub total_bytes: u64,
    /// What nobody holds.
    pub free_bytes: u64,
    /// How often somebody had to wait, since the start.
    pub waits: u64,
}

impl Pool {
    /// A pool of `pool_bytes` on this executor, whose region has [`region_bytes`].
    ///
    /// - Panics: below one `MOVE_BYTES_MAX`, or when not made of whole sectors.
    #[must_use]
    pub fn new(pool_bytes: u32) -> Self {
        assert!(pool_bytes >= MOVE_BYTES_MAX, "the largest buffer must fit");
        assert!(
            pool_bytes.is_multiple_of(SECTOR_BYTES),
            "a pool is made of whole sectors"
        );
        Self {
            budget: Budget::new(u64::from(pool_bytes)),
        }
    }

    /// The same pool, counted in `metrics` beside the other shards' pools.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        self.budget.count_in(metrics);
        self
    }

    /// A buffer of at least `bytes`, when all who asked before have theirs. Its
    /// length is `bytes` rounded up to a power of two, one sector at least.
    ///
    /// - Panics: above `MOVE_BYTES_MAX`.
    /// - Cancel: gives its place in line back.
    pub async fn acquire(&self, bytes: u32) -> Buffer {
        let rounded = rounded_bytes(bytes);
        let permit = self.budget.acquire(u64::from(rounded)).await;
        allocate(rounded, permit)
    }

    /// A buffer now, or not at all. Never overtakes somebody who waits.
    pub fn try_acquire(&self, bytes: u32) -> Option<Buffer> {
        let rounded = rounded_bytes(bytes);
        let permit = self.budget.try_acquire(u64::from(rounded))?;
        Some(allocate(rounded, permit))
    }

    /// Leave for a read of `bytes`, whose buffer the ring takes from the region.
    ///
    /// - Cancel: gives its place in line back.
    pub async fn reserve(&self, bytes: u32) -> Permit {
        self.budget.acquire(u64::from(rounded_bytes(bytes))).await
    }

    /// Leave for a read now, or not at all. Never overtakes somebody who waits.
    pub fn try_reserve(&self, bytes: u32) -> Option<Permit> {
        self.budget.try_acquire(u64::from(rounded_bytes(bytes)))
    }

    /// How the pool is used.
    #[must_use]
    pub fn usage(&self) -> PoolUse {
        PoolUse {
            total_bytes: self.budget.total_bytes(),
            free_bytes: self.budget.free_bytes(),
            waits: self.budget.waits(),
        }
    }
}

/// The region gives out powers of two, from one sector on.
fn rounded_bytes(bytes: u32) -> u32 {
    assert!(
        bytes <= MOVE_BYTES_MAX,
        "{bytes} bytes are more than a move"
    );
    bytes.max(SECTOR_BYTES).next_power_of_two()
}

fn allocate(bytes: u32, permit: Permit) -> Buffer {
    Buffer::new(glommio::allocate_dma_buffer(to_usize(bytes)), permit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::{KIB, MIB};
    use crate::runtime::{run_alone, spawn};

    #[test]
    fn buffers_are_aligned_and_rounded_up() {
        run_alone(|| async {
            let pool = Pool::new(MIB);
            for (asked, given) in [
                (1, 4096),
                (4096, 4096),
                (4097, 8192),
                (300 * KIB, 512 * KIB),
            ] {
                let buffer = pool.acquire(asked).await;
                assert_eq!(buffer.len(), to_usize(given));
                assert_eq!(buffer.as_ptr().align_offset(4096), 0);
                assert_eq!(pool.usage().free_bytes, u64::from(MIB - given));
            }
            assert_eq!(pool.usage().free_bytes, u64::from(MIB));
        });
    }

    #[test]
    fn an_empty_pool_makes_wait_in_order_and_never_allocates() {
        run_alone(|| async {
            let pool = Pool::new(MIB);
            let held: Vec<Buffer> = (0..2)
                .filter_map(|_| pool.try_acquire(MOVE_BYTES_MAX))
                .collect();
            assert_eq!(held.len(), 2);
            assert!(pool.try_acquire(1).is_none());
            assert!(pool.try_reserve(1).is_none());
            let (sender, receiver) = flume::unbounded();
            let waiters: Vec<_> = (0..3)
                .map(|index| {
                    let (pool, sender) = (pool.clone(), sender.clone());
                    spawn(async move {
                        let buffer = pool.acquire(MOVE_BYTES_MAX).await;
                        let _ = sender.send(index);
                        drop(buffer);
                    })
                })
                .collect();
            glommio::executor().yield_now().await;
            assert!(receiver.is_empty());
            drop(held);
            for waiter in waiters {
                waiter.await.unwrap();
            }
            let order: Vec<i32> = receiver.drain().collect();
            assert_eq!(order, [0, 1, 2]);
            assert_eq!(pool.usage().waits, 3);
        });
    }

    #[test]
    fn a_counted_pool_shows_what_is_used_and_who_waited() {
        run_alone(|| async {
            let metrics = Arc::new(Metrics::new());
            let pool = Pool::new(MIB).with_metrics(Arc::clone(&metrics));
            let shown = || {
                let machine = &metrics.machine;
                (machine.pool_bytes.value(), machine.pool_used_bytes.value())
            };
            let whole = (
                pool.reserve(MOVE_BYTES_MAX).await,
                pool.reserve(MOVE_BYTES_MAX).await,
            );
            assert_eq!(shown(), (i64::from(MIB), i64::from(MIB)));
            let waiter = pool.clone();
            let waiting = spawn(async move { drop(waiter.acquire(1).await) });
            glommio::executor().yield_now().await;
            assert_eq!(metrics.machine.pool_waits.value(), 1);
            drop(whole);
            waiting.await.unwrap();
            assert_eq!(shown(), (i64::from(MIB), 0));
        });
    }

    #[test]
    fn a_pool_reuses_its_memory() {
        run_alone(|| async {
            let pool = Pool::new(MIB);
            let first = pool.acquire(MOVE_BYTES_MAX).await.as_ptr();
            for _ in 0..100 {
                assert_eq!(pool.acquire(MOVE_BYTES_MAX).await.as_ptr(), first);
            }
        });
    }

    #[test]
    fn the_whole_budget_fits_the_region() {
        const POOL_BYTES: u32 = 4 * MIB;
        run_alone(|| async {
            let pool = Pool::new(POOL_BYTES);
            let buffers: Vec<Buffer> = (0..POOL_BYTES / MOVE_BYTES_MAX)
                .filter_map(|_| pool.try_acquire(MOVE_BYTES_MAX))
                .collect();
            let addresses = buffers.iter().map(|buffer| buffer.as_ptr().addr());
            let (low, high) = addresses.fold((usize::MAX, 0), |(low, high), address| {
                (low.min(address), high.max(address))
            });
            // One mapping: nothing fell back to the heap.
            assert_eq!(high - low, to_usize(POOL_BYTES - MOVE_BYTES_MAX));
        });
    }
}
