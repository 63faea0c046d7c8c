//! A share of the test Redis.

use crate::{services, unique::UniqueName};

/// The Redis server for tests with a key prefix of one's own. Tests share the server, so a test
/// never flushes it, and gives each key a time to live.
#[derive(Debug, Clone)]
pub struct TestRedis {
    url: String,
    prefix: String,
}

impl TestRedis {
    /// Finds the server, or starts one (see [`services`]); blocks meanwhile.
    ///
    /// # Panics
    /// When there is none and none can be started.
    #[expect(clippy::new_without_default, reason = "it may start a server, which `default` hides")]
    pub fn new() -> Self {
        let url = services::redis_url().to_owned();
        Self { url, prefix: format!("convene-test:{}:", UniqueName::new()) }
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What all of this test's keys begin with; it ends with a colon.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// This test's key of that name.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tests_share_a_server_but_no_key() {
        let (one, other) = (TestRedis::new(), TestRedis::new());
        assert_eq!(one.url(), other.url());
        assert_ne!(one.key("sessions"), other.key("sessions"));
        assert!(one.key("sessions").starts_with(one.prefix()));
    }
}
