//! A share of the test broker.

use std::sync::{Mutex, PoisonError};

use crate::{services, unique::UniqueName};

/// The RabbitMQ server for tests with a name prefix of one's own. (A virtual host per test would
/// take the management plugin or `rabbitmqctl`, and a server elsewhere may offer neither.)
///
/// Names asked for are remembered, so that the test can delete at its end what bears them; queues
/// should be declared exclusive, or with `x-expires`, in case it does not get there.
#[derive(Debug)]
pub struct TestBroker {
    url: String,
    prefix: String,
    exchanges: Mutex<Vec<String>>,
    queues: Mutex<Vec<String>>,
}

impl TestBroker {
    /// Finds the server, or starts one (see [`services`]); blocks meanwhile.
    ///
    /// # Panics
    /// When there is none and none can be started.
    #[expect(clippy::new_without_default, reason = "it may start a server, which `default` hides")]
    pub fn new() -> Self {
        Self {
            url: services::broker_url().to_owned(),
            prefix: name_prefix(),
            exchanges: Mutex::default(),
            queues: Mutex::default(),
        }
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What all of this test's names begin with; it ends with a dot.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// This test's exchange of that name.
    pub fn exchange(&self, name: &str) -> String {
        self.remember(&self.exchanges, name)
    }

    /// This test's queue of that name.
    pub fn queue(&self, name: &str) -> String {
        self.remember(&self.queues, name)
    }

    /// The exchanges asked for so far, to delete.
    pub fn exchanges(&self) -> Vec<String> {
        locked(&self.exchanges).clone()
    }

    /// The queues asked for so far, to delete.
    pub fn queues(&self) -> Vec<String> {
        locked(&self.queues).clone()
    }

    fn remember(&self, names: &Mutex<Vec<String>>, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        let mut names = locked(names);
        if !names.contains(&name) {
            names.push(name.clone());
        }
        name
    }
}

/// A prefix for exchanges and queues that no other test uses; it ends with a dot.
pub fn name_prefix() -> String {
    format!("convene-test.{}.", UniqueName::new())
}

/// A test that panicked with the lock left a complete list behind.
fn locked(names: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_tests_own_and_remembered_once() {
        let broker = TestBroker::new();
        let queue = broker.queue("webhooks");
        assert_eq!(broker.queue("webhooks"), queue);
        let exchange = broker.exchange("events");
        assert_eq!(broker.queues(), [queue.as_str()]);
        assert_eq!(broker.exchanges(), [exchange]);
        assert_ne!(TestBroker::new().queue("webhooks"), queue);
    }
}
