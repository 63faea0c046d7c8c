//! Limits on requests over several processes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::limits::{Quota, RequestLimiter, Subject, Verdict};
use convene_infrastructure::redis::{LeasingLimiter, RedisLimiter, RedisOptions};
use convene_testkit::poll::poll_until;
use convene_testkit::proxy::{Fault, FaultProxy};
use convene_testkit::redis::TestRedis;
use deadpool_redis::redis::{aio::MultiplexedConnection, cmd, pipe};
use futures::future::join_all;
use tokio::runtime::Handle;

const QUOTA: Quota = Quota { burst: 2_000, every: Duration::from_millis(1) };
const ADA: Subject = Subject::Community(1);

fn limiter(url: &str, prefix: &str) -> LeasingLimiter {
    let limiter = RedisLimiter::new(&RedisOptions::new(url.into(), prefix)).unwrap();
    limiter.of_requests(&Handle::current())
}

/// A limiter behind a proxy that the test can do things to.
fn through_a_proxy(server: &TestRedis) -> (LeasingLimiter, FaultProxy) {
    let mut url = url::Url::parse(server.url()).unwrap();
    let proxy = FaultProxy::start(url.socket_addrs(|| Some(6379)).unwrap()[0]).unwrap();
    url.set_host(Some(&proxy.addr().ip().to_string())).unwrap();
    url.set_port(Some(proxy.addr().port())).unwrap();
    (limiter(url.as_str(), server.prefix()), proxy)
}

async fn connect(server: &TestRedis) -> MultiplexedConnection {
    let client = deadpool_redis::redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// As a request does: at once if that can be, with a question if not.
async fn is_admitted(limiter: &LeasingLimiter, subject: Subject, quota: Quota) -> bool {
    let standing = match limiter.try_spend(subject, quota, 1) {
        Some(standing) => standing,
        None => limiter.spend(subject, quota, 1).await,
    };
    standing.verdict == Verdict::Allowed
}

/// Sends so many requests to each of the limiters, several at a time; how many are admitted.
async fn send(limiters: &[Arc<LeasingLimiter>], each: u32) -> u32 {
    let senders = limiters.iter().flat_map(|limiter| {
        (0..8).map(|_| {
            let limiter = Arc::clone(limiter);
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..each / 8 {
                    admitted += u32::from(is_admitted(&limiter, ADA, QUOTA).await);
                    tokio::task::yield_now().await;
                }
                admitted
            })
        })
    });
    join_all(senders).await.into_iter().map(Result::unwrap).sum()
}

/// What the quota lets through in a time that began with all of it.
fn allowed(elapsed: Duration) -> f64 {
    f64::from(QUOTA.burst) + elapsed.as_secs_f64() / QUOTA.every.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_admit_the_quota_and_one_part_in_a_hundred() {
    let server = TestRedis::new();
    let both: Vec<_> = (0..2).map(|_| Arc::new(limiter(server.url(), server.prefix()))).collect();
    let began = Instant::now();
    let admitted = send(&both, 5_000).await;
    let most = allowed(began.elapsed());
    assert!(f64::from(admitted) <= most * 1.01, "{admitted} of {most}");
    // What was taken ahead when the last request came is lost: 5 % of the burst for each, at most.
    assert!(f64::from(admitted) >= f64::from(QUOTA.burst) * 0.9, "{admitted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_two_processes_admit_at_most_twice_the_quota_and_then_share_again() {
    let server = TestRedis::new();
    let (limiters, proxies): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| through_a_proxy(&server))
        .map(|(limiter, proxy)| (Arc::new(limiter), proxy))
        .unzip();
    let began = Instant::now();
    let with = send(&limiters, 2_500).await;
    for proxy in &proxies {
        proxy.set(Fault::Cut);
    }
    let without = send(&limiters, 2_500).await;
    let most = 2.0 * allowed(began.elapsed());
    assert!(f64::from(with + without) <= most, "{with} and {without} of {most}");
    assert!(without > 0, "a lost Redis stops nothing");

    for proxy in &proxies {
        proxy.set(Fault::Pass);
    }
    let mut redis = connect(&server).await;
    let quota = Quota { burst: 4, every: Duration::from_secs(60) };
    poll_until(Duration::from_secs(10), "Redis counts again", async || {
        is_admitted(&limiters[0], Subject::Community(2), quota).await;
        let key = server.key(&format!("limit:{}", Subject::Community(2)));
        let known: bool = cmd("EXISTS").arg(key).query_async(&mut redis).await.unwrap();
        known.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_charged_counts_for_all_processes() {
    let server = TestRedis::new();
    let (one, other) =
        (limiter(server.url(), server.prefix()), limiter(server.url(), server.prefix()));
    let quota = Quota { burst: 4, every: Duration::from_secs(3_600) };
    one.charge(ADA, quota, 4);
    poll_until(Duration::from_secs(10), "the charge arrives", async || {
        let standing = other.spend(ADA, quota, 4).await;
        (standing.verdict != Verdict::Allowed).then_some(())
    })
    .await;
}

/// How long each of the keys lives, in milliseconds; -1 is for ever.
async fn keys(server: &TestRedis, redis: &mut MultiplexedConnection) -> HashMap<String, i64> {
    let (mut cursor, mut lives) = (0_u64, HashMap::new());
    loop {
        let (next, found): (u64, Vec<String>) = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(server.key("limit:*"))
            .arg("COUNT")
            .arg(10_000)
            .query_async(redis)
            .await
            .unwrap();
        if !found.is_empty() {
            let mut ask = pipe();
            for key in &found {
                ask.cmd("PTTL").arg(key);
            }
            let left: Vec<i64> = ask.query_async(redis).await.unwrap();
            lives.extend(found.into_iter().zip(left));
        }
        cursor = next;
        if cursor == 0 {
            return lives;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_a_hundred_thousand_clients_ends() {
    let server = TestRedis::new();
    let limiter = limiter(server.url(), server.prefix());
    let mut redis = connect(&server).await;
    // Small enough that Redis is asked each time.
    let quota = Quota { burst: 4, every: Duration::from_secs(300) };
    let mut missing: Vec<Subject> = (0..100_000)
        .map(|number| Subject::Client(IpAddr::V4(Ipv4Addr::from_bits(number))))
        .collect();
    // On a busy machine Redis does not answer each in time; those are counted in the process, and come again.
    let lives = poll_until(Duration::from_secs(120), "all have keys", async || {
        for some in missing.chunks(500) {
            join_all(some.iter().map(|client| is_admitted(&limiter, *client, quota))).await;
        }
        let lives = keys(&server, &mut redis).await;
        missing.retain(|client| !lives.contains_key(&server.key(&format!("limit:{client}"))));
        missing.is_empty().then_some(lives)
    })
    .await;
    assert!(lives.values().all(|left| (1..=1_200_000).contains(left)), "a key does not end");
}
