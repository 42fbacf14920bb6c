//! The memory of the process as a budget in bytes. A step reserves what it needs at most before it fetches, reads or
//! stores a large body, and waits while that is not free.
//!
//! Those that wait are served in the order of their arrival, so that nobody is overtaken for ever. A step reserves once,
//! and holds nothing while it waits, so that two steps never wait for each other. What each slot may use without a
//! reservation is set apart: a small document never waits for a large one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::text::PoisonError;

/// Memory of a worker without large documents: 19 MiB of the program, and 29 MiB of 100 cached workflows.
const OF_PROCESS: u64 = 48 << 20;

/// Memory that each slot may use without a reservation.
const OF_SLOT: u64 = 4 << 20;

/// How long a step waits. Then its slot is free for another task, and another worker may have the memory.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// A permit of the semaphore, in bytes.
const UNIT: u64 = 1 << 10;

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum NoMemory {
    /// The document needs more than the budget: not retried.
    #[error(transparent)]
    Never(#[from] PoisonError),
    /// The budget was in use.
    #[error("{0} bytes of memory are in use: this worker reads or stores other large documents")]
    NotNow(u64),
}

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    free: Arc<Semaphore>,
    total: u64,
    /// All of the budget, if one step holds it.
    all: Option<Reservation>,
}

/// Memory that is reserved until the last clone is dropped.
#[derive(Debug, Clone, Default)]
pub struct Reservation {
    bytes: u64,
    /// `None` if it needs no reservation.
    _held: Option<Arc<Held>>,
}

/// Keeps the memory, and makes the allocator give back what it took.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "it is free when this is dropped")] OwnedSemaphorePermit);

impl Drop for Held {
    fn drop(&mut self) {
        trim();
    }
}

/// Gives free memory back to the system. glibc does this by itself only at the end of its heap, and the passages of a
/// large document leave tens of MiB before that.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "it is a function of C, without arguments that could be wrong")]
fn trim() {
    // SAFETY: it may be called from any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

impl Reservation {
    /// Whether this suffices for so many bytes.
    pub fn covers(&self, bytes: u64) -> bool {
        bytes <= self.bytes
    }
}

/// What a process with this limit and this number of slots has for large documents, in bytes.
pub(crate) fn budget(limit: u64, slots: usize) -> u64 {
    let slots = u64::try_from(slots).unwrap_or(u64::MAX);
    limit.saturating_sub(OF_PROCESS).saturating_sub(OF_SLOT.saturating_mul(slots))
}

impl Memory {
    /// A budget of this many bytes.
    pub fn of(total: u64) -> Self {
        let units = usize::try_from(total / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(units)), total, all: None }
    }

    /// The whole budget in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Reserves the whole budget, and waits for it. What is reserved from the result is part of that.
    ///
    /// # Errors
    /// It was not free for long.
    pub async fn alone(&self) -> Result<Self, NoMemory> {
        let units = u32::try_from(self.total / UNIT).unwrap_or(u32::MAX);
        let all = self.acquire(self.total, units).await?;
        Ok(Self { all: Some(all), ..self.clone() })
    }

    /// Reserves memory if it is free, and nobody waits for it.
    ///
    /// # Errors
    /// It is not, or is more than the budget.
    pub fn try_reserve(&self, bytes: u64) -> Result<Reservation, NoMemory> {
        let units = match self.units(bytes)? {
            Ok(reserved) => return Ok(reserved),
            Err(units) => units,
        };
        // While others wait, the semaphore has no permits.
        match Arc::clone(&self.free).try_acquire_many_owned(units) {
            Ok(permit) => Ok(Reservation { bytes, _held: Some(Arc::new(Held(permit))) }),
            Err(_) => Err(NoMemory::NotNow(bytes)),
        }
    }

    /// Reserves memory, and waits for it.
    ///
    /// # Errors
    /// It is more than the budget, or was not free for long.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation, NoMemory> {
        match self.units(bytes)? {
            Ok(reserved) => Ok(reserved),
            Err(units) => self.acquire(bytes, units).await,
        }
    }

    async fn acquire(&self, bytes: u64, units: u32) -> Result<Reservation, NoMemory> {
        match timeout(WAIT, Arc::clone(&self.free).acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(Reservation { bytes, _held: Some(Arc::new(Held(permit))) }),
            Ok(Err(_)) | Err(_) => Err(NoMemory::NotNow(bytes)),
        }
    }

    /// A reservation that needs no wait, or the permits for so many bytes.
    fn units(&self, bytes: u64) -> Result<Result<Reservation, u32>, NoMemory> {
        if bytes > self.total.max(OF_SLOT) {
            return Err(PoisonError::TooMuchMemory { bytes, limit: self.total }.into());
        }
        Ok(match &self.all {
            Some(all) => Ok(all.clone()),
            None if bytes <= OF_SLOT => Ok(Reservation { bytes: OF_SLOT, _held: None }),
            None => Err(u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn what_does_not_fit_waits_and_is_not_overtaken() {
        let memory = Memory::of(100 * MIB);
        let first = memory.reserve(60 * MIB).await.unwrap();
        assert!(memory.try_reserve(60 * MIB).is_err());
        let mut large = std::pin::pin!(memory.reserve(100 * MIB));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(memory.try_reserve(30 * MIB).is_err(), "it would overtake the one that waits");
        let copy = first.clone();
        drop(first);
        assert!(large.as_mut().now_or_never().is_none(), "a clone still uses it");
        drop(copy);
        drop(large.now_or_never().unwrap().unwrap());
        assert!(memory.try_reserve(100 * MIB).is_ok());
    }

    #[tokio::test]
    async fn a_small_body_never_waits() {
        let memory = Memory::of(10 * MIB);
        let _all = memory.reserve(10 * MIB).await.unwrap();
        assert!(memory.reserve(OF_SLOT).now_or_never().unwrap().is_ok());
        assert!(Memory::of(0).try_reserve(OF_SLOT).is_ok());
    }

    #[tokio::test]
    async fn more_than_the_budget_is_refused_by_name() {
        let memory = Memory::of(10 * MIB);
        let refused = memory.reserve(10 * MIB + 1).await.unwrap_err();
        assert!(matches!(refused, NoMemory::Never(PoisonError::TooMuchMemory { .. })), "{refused}");
        assert!(matches!(memory.try_reserve(u64::MAX), Err(NoMemory::Never(_))));
    }

    #[tokio::test]
    async fn one_step_can_have_all_of_it() {
        let memory = Memory::of(10 * MIB);
        let first = memory.reserve(5 * MIB).await.unwrap();
        let mut alone = std::pin::pin!(memory.alone());
        assert!(alone.as_mut().now_or_never().is_none());
        drop(first);
        let alone = alone.now_or_never().unwrap().unwrap();
        let part = alone.try_reserve(10 * MIB).unwrap();
        drop(alone);
        assert!(memory.try_reserve(5 * MIB).is_err(), "a part of it is still in use");
        drop(part);
        assert!(memory.try_reserve(5 * MIB).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_and_can_be_tried_again() {
        let memory = Memory::of(10 * MIB);
        let _all = memory.reserve(10 * MIB).await.unwrap();
        let refused = memory.reserve(5 * MIB).await.unwrap_err();
        assert!(matches!(refused, NoMemory::NotNow(_)), "{refused}");
    }
}
