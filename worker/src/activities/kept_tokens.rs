//! The memory of the tokens that the SDK keeps.
//!
//! temporalio-sdk 1.1.1 keeps the cancellation token of each activity until the object that runs the activities is
//! dropped (docs/decisions/0026-tokens-of-the-sdk.md). [`crate::lifecycle`] replaces this object, by memory.

use std::sync::Arc;

use tokio::sync::watch;

/// Memory of a token beside the bytes of its name: two allocations, a map's entry, and the map's free room. With a
/// name of some 250 bytes, a token takes 0.9 kB.
const OVERHEAD: u64 = 650;

/// Estimates the memory of the tokens that one SDK worker keeps, in bytes.
#[derive(Debug, Clone, Default)]
pub struct KeptTokens(Arc<watch::Sender<u64>>);

impl KeptTokens {
    /// Counts the token of one activity by its name, the task token.
    pub(super) fn add(&self, task_token: &[u8]) {
        self.0.send_modify(|bytes| *bytes += task_token.len() as u64 + OVERHEAD);
    }

    /// Waits until the tokens take this many bytes.
    pub async fn reach(&self, limit: u64) {
        // It cannot fail, because the sender is here.
        drop(self.0.subscribe().wait_for(|bytes| *bytes >= limit).await);
    }

    /// Sets the memory back to 0: the tokens were dropped. Returns the bytes that they took.
    pub fn drop_all(&self) -> u64 {
        self.0.send_replace(0)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn tokens_are_counted_until_they_are_dropped() {
        let tokens = KeptTokens::default();
        tokens.add(&[0; 100]);
        assert!(tokens.reach(1_000).now_or_never().is_none());
        tokens.add(&[0; 100]);
        tokens.reach(1_000).await;
        assert_eq!(tokens.drop_all(), 1_500);
        assert!(tokens.reach(1_000).now_or_never().is_none());
    }
}
