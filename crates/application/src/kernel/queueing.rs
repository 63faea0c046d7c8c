//! How long work waits before it begins: what tells a busy process from one that has more to do than it can.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Nobody's turn has come since the queue was last looked at.
const NONE: u64 = u64::MAX;

/// A queue that work waits in. It remembers the shortest wait since it was last looked at: where even that is long, the
/// queue is not a burst that is being worked off but one that stands (`CoDel`, RFC 8289).
#[derive(Debug)]
pub struct Queue {
    shortest: AtomicU64,
    waiting: AtomicUsize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { shortest: AtomicU64::new(NONE), waiting: AtomicUsize::new(0) }
    }
}

impl Queue {
    /// Begins to wait.
    pub fn wait(&self) -> Waiting<&Self> {
        Waiting::begin(self)
    }

    /// The shortest wait that ended since the last look; `None` if none did, and somebody waits.
    pub fn look(&self) -> Option<Duration> {
        match self.shortest.swap(NONE, Ordering::Relaxed) {
            NONE if self.waiting.load(Ordering::Relaxed) > 0 => None,
            NONE => Some(Duration::ZERO),
            shortest => Some(Duration::from_nanos(shortest)),
        }
    }
}

/// A wait, which ends when this is dropped.
#[derive(Debug)]
pub struct Waiting<Q: AsRef<Queue>> {
    queue: Q,
    since: Instant,
}

impl<Q: AsRef<Queue>> Waiting<Q> {
    /// Begins to wait.
    pub fn begin(queue: Q) -> Self {
        queue.as_ref().waiting.fetch_add(1, Ordering::Relaxed);
        Self { queue, since: Instant::now() }
    }
}

impl AsRef<Self> for Queue {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<Q: AsRef<Queue>> Drop for Waiting<Q> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(NONE - 1);
        let queue = self.queue.as_ref();
        queue.shortest.fetch_min(waited, Ordering::Relaxed);
        queue.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn remembers_the_shortest_wait_until_somebody_looks() {
        let queue = Arc::new(Queue::default());
        assert_eq!(queue.look(), Some(Duration::ZERO), "nobody waits");
        let long = Waiting::begin(Arc::clone(&queue));
        assert_eq!(queue.look(), None, "somebody waits and nobody's turn comes");
        drop(queue.wait());
        let since = long.since;
        drop(long);
        let shortest = queue.look().unwrap();
        assert!(shortest <= since.elapsed());
        assert_eq!(queue.look(), Some(Duration::ZERO), "what was seen is forgotten");
    }
}
