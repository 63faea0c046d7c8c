//! How many jobs of each queue may still start in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The slots of all queues.
pub(super) struct Slots {
    queues: BTreeMap<&'static str, Arc<Queue>>,
    freed: Arc<Notify>,
}

struct Queue {
    limit: usize,
    taken: AtomicUsize,
}

/// A slot that is taken until this is dropped.
pub(super) struct Slot {
    queue: Option<Arc<Queue>>,
    freed: Arc<Notify>,
}

impl Slots {
    pub(super) fn new(limits: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let queues = limits
            .into_iter()
            .map(|(queue, limit)| (queue, Arc::new(Queue { limit, taken: AtomicUsize::new(0) })))
            .collect();
        Self { queues, freed: Arc::new(Notify::new()) }
    }

    /// The queues with room, and how much.
    pub(super) fn free(&self) -> Vec<(&'static str, i32)> {
        self.queues
            .iter()
            .map(|(name, queue)| {
                (*name, queue.limit.saturating_sub(queue.taken.load(Ordering::Acquire)))
            })
            .filter(|(_, free)| *free > 0)
            .map(|(name, free)| (name, i32::try_from(free).unwrap_or(i32::MAX)))
            .collect()
    }

    /// Takes a slot of the queue, for a job that was claimed because there was one.
    pub(super) fn take(&self, queue: &str) -> Slot {
        let queue = self.queues.get(queue).map(Arc::clone);
        if let Some(queue) = &queue {
            queue.taken.fetch_add(1, Ordering::AcqRel);
        }
        Slot { queue, freed: Arc::clone(&self.freed) }
    }

    /// Waits until a slot became free since the last call.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.taken.fetch_sub(1, Ordering::AcqRel);
        }
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_left_out_until_a_slot_is_dropped() {
        let slots = Slots::new([("default", 2), ("mail", 1)]);
        let mail = slots.take("mail");
        let _other = slots.take("default");
        assert_eq!(slots.free(), [("default", 1)]);
        drop(mail);
        assert_eq!(slots.free(), [("default", 1), ("mail", 1)]);
    }
}
