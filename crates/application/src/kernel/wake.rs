//! Wake-ups for the engines: a hint that there is work, never the truth about it. Whoever misses one polls.

use tokio::sync::watch;

/// The bells of one process.
#[derive(Debug, Default)]
pub struct Wake {
    /// Events were committed to the outbox.
    pub outbox: Bell,
    /// Events got their positions.
    pub log: Bell,
    /// Jobs were committed.
    pub jobs: Bell,
    /// Something was revoked.
    pub revocations: Bell,
    /// Something that is cached was changed.
    pub caches: Bell,
}

/// Wakes all who listen. Rings that come while a listener is busy count as one, and none is lost.
#[derive(Debug)]
pub struct Bell {
    all: watch::Sender<u64>,
    from_here: watch::Sender<u64>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { all: watch::Sender::new(0), from_here: watch::Sender::new(0) }
    }
}

impl Bell {
    /// Rings for something that this process did.
    pub fn ring(&self) {
        self.from_here.send_modify(|rings| *rings += 1);
        self.relay();
    }

    /// Rings for something that another process did. Told apart from [`Bell::ring`], so that two processes that pass
    /// their rings on to each other do not do so for ever.
    pub fn relay(&self) {
        self.all.send_modify(|rings| *rings += 1);
    }

    /// Hears every ring from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener(self.all.subscribe())
    }

    /// Hears from now on what this process did: what is to be passed on to others.
    #[must_use]
    pub fn listen_from_here(&self) -> Listener {
        Listener(self.from_here.subscribe())
    }
}

/// One who listens to a bell.
#[derive(Debug)]
pub struct Listener(watch::Receiver<u64>);

impl Listener {
    /// Waits for a ring since the last call. May be cancelled without losing one.
    pub async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            // The bell is gone, and nobody can ring it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn every_listener_hears_a_ring_once_however_often_it_rang() {
        let bell = Bell::default();
        let (mut one, mut other) = (bell.listen(), bell.listen());
        assert_eq!(one.rung().now_or_never(), None);
        bell.ring();
        bell.ring();
        for listener in [&mut one, &mut other] {
            assert_eq!(listener.rung().now_or_never(), Some(()));
            assert_eq!(listener.rung().now_or_never(), None);
        }
    }

    #[test]
    fn a_relayed_ring_is_not_passed_on() {
        let bell = Bell::default();
        let (mut all, mut from_here) = (bell.listen(), bell.listen_from_here());
        bell.relay();
        assert_eq!(all.rung().now_or_never(), Some(()));
        assert_eq!(from_here.rung().now_or_never(), None);
        bell.ring();
        assert_eq!(all.rung().now_or_never(), Some(()));
        assert_eq!(from_here.rung().now_or_never(), Some(()));
    }
}
