//! Limits, in the process and in Redis.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::limits::{Limiter, Quota, Verdict};
use convene_infrastructure::memory::InProcessLimiter;
use convene_infrastructure::redis::{RedisLimiter, RedisOptions};
use convene_testkit::contract::limiter::Port;
use convene_testkit::poll::poll_until;
use convene_testkit::proxy::{Fault, FaultProxy};
use convene_testkit::redis::TestRedis;
use futures::FutureExt as _;

const SLOW: Quota = Quota { burst: 4, every: Duration::from_secs(3_600) };

/// How long nobody is held up by a Redis that is lost, and what a busy machine may add.
const HELD_UP: Duration = Duration::from_secs(1 + 2);

fn real_time(limiter: Arc<dyn Limiter>) -> Port {
    Port { limiter, pass: Box::new(|time| tokio::time::sleep(time).boxed()) }
}

fn redis(url: &str, prefix: &str) -> RedisLimiter {
    RedisLimiter::new(&RedisOptions::new(url.into(), prefix)).unwrap()
}

mod in_process {
    use super::*;

    fn port() -> Ready<(Port, ())> {
        ready((real_time(Arc::new(InProcessLimiter::default())), ()))
    }

    convene_testkit::limiter_contract!(port());
}

mod in_redis {
    use super::*;

    fn port() -> Ready<(Port, TestRedis)> {
        let server = TestRedis::new();
        ready((real_time(Arc::new(redis(server.url(), server.prefix()))), server))
    }

    convene_testkit::limiter_contract!(port());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_quota() {
    let server = TestRedis::new();
    let (one, other) = (redis(server.url(), server.prefix()), redis(server.url(), server.prefix()));
    for limiter in [&one, &other, &one, &other] {
        assert_eq!(limiter.spend("a", SLOW).await, Verdict::Allowed);
    }
    assert_ne!(one.spend("a", SLOW).await, Verdict::Allowed);
    assert_ne!(other.peek("a", SLOW).await, Verdict::Allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_ends() {
    let server = TestRedis::new();
    let limiter = redis(server.url(), server.prefix());
    limiter.peek("asked", SLOW).await;
    limiter.spend("spent", Quota { burst: 4, every: Duration::from_secs(10) }).await;
    let client = deadpool_redis::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut ttl = async |key: &str| -> i64 {
        deadpool_redis::redis::cmd("PTTL")
            .arg(server.key(&format!("limit:{key}")))
            .query_async(&mut connection)
            .await
            .unwrap()
    };
    assert_eq!(ttl("asked").await, -2, "asking leaves no key");
    let left = ttl("spent").await;
    assert!((1..=10_000).contains(&left), "{left}");
}

/// A limiter behind a proxy that the test can do things to.
fn through_a_proxy(server: &TestRedis) -> (RedisLimiter, FaultProxy) {
    let mut url = url::Url::parse(server.url()).unwrap();
    let proxy = FaultProxy::start(url.socket_addrs(|| Some(6379)).unwrap()[0]).unwrap();
    url.set_host(Some(&proxy.addr().ip().to_string())).unwrap();
    url.set_port(Some(proxy.addr().port())).unwrap();
    (redis(url.as_str(), server.prefix()), proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_lost_makes_limits_stricter_and_comes_back_by_itself() {
    let server = TestRedis::new();
    for fault in [Fault::Cut, Fault::Reset, Fault::HalfOpen] {
        let (limiter, proxy) = through_a_proxy(&server);
        let key = format!("{fault:?}");
        assert_eq!(limiter.spend(&key, SLOW).await, Verdict::Allowed);
        proxy.set(fault);
        // Half of the four: two processes share the quota.
        let began = Instant::now();
        let mut allowed = 0;
        while limiter.spend(&key, SLOW).await == Verdict::Allowed {
            allowed += 1;
        }
        assert_eq!(allowed, 2);
        assert!(began.elapsed() < HELD_UP, "a lost Redis holds nobody up: {:?}", began.elapsed());

        proxy.set(Fault::Pass);
        poll_until(Duration::from_secs(5), "Redis counts again", async || {
            (limiter.spend(&key, SLOW).await == Verdict::Allowed).then_some(())
        })
        .await;
        let mut left = 0;
        while limiter.spend(&key, SLOW).await == Verdict::Allowed {
            left += 1;
        }
        // What was on its way when the network was parted arrives late, and counts.
        let most_left = if fault == Fault::HalfOpen { 0..=2 } else { 2..=2 };
        assert!(most_left.contains(&left), "what Redis knew is known: {left} after {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgot_the_script_is_taught_it_again() {
    let server = TestRedis::new();
    let limiter = redis(server.url(), server.prefix());
    limiter.spend("a", SLOW).await;
    let client = deadpool_redis::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // The server is shared: others are taught again as well.
    let () = deadpool_redis::redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async(&mut connection)
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(limiter.spend("a", SLOW).await, Verdict::Allowed);
    }
    assert_ne!(limiter.spend("a", SLOW).await, Verdict::Allowed);
}
