//! The slots of an SDK worker. A slot is free, held by a poll, or used by a task.
//!
//! An SDK worker that shuts down drops the tasks that its open polls still bring
//! (docs/decisions/0025-polls-end-before-the-shutdown.md). So its polls have to end first: closed slots let no poll
//! begin, and tell when the last one has ended. This file counts, and knows no queue and no server.

use std::{marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use temporalio_sdk_core::{
    SlotKind, SlotMarkUsedContext, SlotReleaseContext, SlotReservationContext, SlotSupplier, SlotSupplierPermit,
};
use tokio::sync::{Semaphore, watch};

/// A fixed number of slots, which can be closed and opened again.
#[derive(Debug, Clone)]
pub struct Slots {
    free: Arc<Semaphore>,
    in_use: Arc<watch::Sender<InUse>>,
}

/// The slots that are not free.
#[derive(Debug, Clone, Copy, Default)]
struct InUse {
    closed: bool,
    polls: usize,
    tasks: usize,
}

impl Slots {
    /// This number of free slots.
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), in_use: Arc::default() }
    }

    /// What the SDK takes the slots from, for one kind of task.
    pub fn supplier<K: SlotKind + Send + Sync + 'static>(
        &self,
    ) -> Arc<dyn SlotSupplier<SlotKind = K> + Send + Sync + 'static> {
        Arc::new(Supplier { slots: self.clone(), kind: PhantomData::<fn() -> K> })
    }

    /// Lets no poll begin from now on. Open polls go on.
    pub fn close(&self) {
        self.in_use.send_modify(|in_use| in_use.closed = true);
    }

    /// Lets polls begin again.
    pub fn open(&self) {
        self.in_use.send_modify(|in_use| in_use.closed = false);
    }

    /// Waits for a moment at which no poll is open. A task that a poll brought counts as a task by then.
    pub async fn without_polls(&self) {
        self.reaches(|in_use| in_use.polls == 0).await;
    }

    /// Waits for a moment at which no task is in progress.
    pub async fn without_tasks(&self) {
        self.reaches(|in_use| in_use.tasks == 0).await;
    }

    async fn reaches(&self, wanted: impl FnMut(&InUse) -> bool + Send) {
        // It cannot fail, because the sender is here.
        drop(self.in_use.subscribe().wait_for(wanted).await);
    }

    /// Counts a poll, unless the slots are closed.
    fn begin_poll(&self) -> bool {
        self.in_use.send_if_modified(|in_use| {
            in_use.polls += usize::from(!in_use.closed);
            !in_use.closed
        })
    }
}

/// The slots as the SDK sees them. The SDK reserves a slot for each poll, and marks it as used when the poll brought a
/// task.
struct Supplier<K> {
    slots: Slots,
    kind: PhantomData<fn() -> K>,
}

#[async_trait]
impl<K: SlotKind + Send + Sync + 'static> SlotSupplier for Supplier<K> {
    type SlotKind = K;

    async fn reserve_slot(&self, _: &dyn SlotReservationContext) -> SlotSupplierPermit {
        loop {
            self.slots.reaches(|in_use| !in_use.closed).await;
            // The semaphore is never closed. The slots may have been closed during the wait for it.
            if let Ok(slot) = Arc::clone(&self.slots.free).acquire_owned().await
                && self.slots.begin_poll()
            {
                return SlotSupplierPermit::with_user_data(slot);
            }
        }
    }

    fn try_reserve_slot(&self, _: &dyn SlotReservationContext) -> Option<SlotSupplierPermit> {
        let slot = Arc::clone(&self.slots.free).try_acquire_owned().ok()?;
        self.slots.begin_poll().then(|| SlotSupplierPermit::with_user_data(slot))
    }

    fn mark_slot_used(&self, _: &dyn SlotMarkUsedContext<SlotKind = K>) {
        self.slots.in_use.send_modify(|in_use| {
            in_use.polls = in_use.polls.saturating_sub(1);
            in_use.tasks += 1;
        });
    }

    fn release_slot(&self, slot: &dyn SlotReleaseContext<SlotKind = K>) {
        self.slots.in_use.send_modify(|in_use| match slot.info() {
            Some(_) => in_use.tasks = in_use.tasks.saturating_sub(1),
            None => in_use.polls = in_use.polls.saturating_sub(1),
        });
    }

    fn available_slots(&self) -> Option<usize> {
        Some(self.slots.free.available_permits())
    }

    fn slot_supplier_kind(&self) -> String {
        // As the SDK's own supplier of a fixed number of slots says.
        "Fixed".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use temporalio_common::worker::WorkerDeploymentVersion;
    use temporalio_sdk_core::ActivitySlotKind;

    use super::*;

    struct Poller;

    impl SlotReservationContext for Poller {
        fn task_queue(&self) -> &'static str {
            "q"
        }
        fn worker_identity(&self) -> &'static str {
            "w"
        }
        fn worker_deployment_version(&self) -> &Option<WorkerDeploymentVersion> {
            &None
        }
        fn num_issued_slots(&self) -> usize {
            0
        }
        fn is_sticky(&self) -> bool {
            false
        }
    }

    struct Released(SlotSupplierPermit);

    impl SlotReleaseContext for Released {
        type SlotKind = ActivitySlotKind;
        fn permit(&self) -> &SlotSupplierPermit {
            &self.0
        }
        fn info(&self) -> Option<&<ActivitySlotKind as SlotKind>::Info> {
            None
        }
    }

    #[tokio::test]
    async fn closed_slots_let_no_poll_begin_and_tell_when_the_last_has_ended() {
        let slots = Slots::new(2);
        let supplier = slots.supplier::<ActivitySlotKind>();
        let open = supplier.reserve_slot(&Poller).await;
        assert!(slots.without_polls().now_or_never().is_none(), "a poll is open");
        slots.close();
        assert!(supplier.reserve_slot(&Poller).now_or_never().is_none(), "a poll began");
        assert!(supplier.try_reserve_slot(&Poller).is_none(), "an eager task began");
        assert_eq!(supplier.available_slots(), Some(1), "a refused poll holds a slot");
        supplier.release_slot(&Released(open));
        slots.without_polls().await;
        slots.open();
        assert!(supplier.reserve_slot(&Poller).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_poll_that_waits_for_a_slot_does_not_begin_after_the_slots_were_closed() {
        let slots = Slots::new(1);
        let supplier = slots.supplier::<ActivitySlotKind>();
        let in_use = supplier.reserve_slot(&Poller).await;
        let mut waiting = supplier.reserve_slot(&Poller);
        assert!((&mut waiting).now_or_never().is_none());
        slots.close();
        supplier.release_slot(&Released(in_use));
        assert!((&mut waiting).now_or_never().is_none(), "a poll began");
        slots.without_polls().await;
        slots.open();
        waiting.await;
    }
}
