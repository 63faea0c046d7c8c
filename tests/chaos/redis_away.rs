//! Redis goes away and comes back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use convene_testkit::embedded::Redis;
use convene_testkit::poll::poll_until;
use convene_tests::client::{Answer, Client, Person};
use serde_json::json;

use crate::RECOVERS_WITHIN;
use crate::process::Process;
use crate::stage::{Stage, blocking, private};
use crate::vigil::Vigil;

/// How much longer a login may take that finds out that Redis is gone, on a busy machine.
const FINDS_OUT_WITHIN: Duration = Duration::from_secs(3);

pub(crate) async fn login(api: &Client, person: &Person) -> Answer {
    let credentials = json!({"email": person.email, "password": person.password});
    api.post("/v1/auth/login").json(credentials).await
}

/// How many quotas Redis knows.
pub(crate) fn quotas(redis: &Redis) -> Option<u32> {
    let mut stream = TcpStream::connect(redis.address()).ok()?;
    stream.write_all(b"DBSIZE\r\n").ok()?;
    let mut reply = [0; 32];
    let length = stream.read(&mut reply).ok()?;
    std::str::from_utf8(&reply[..length]).ok()?.trim().strip_prefix(':')?.parse().ok()
}

/// Limits hold all the time: in Redis, in the process while there is none, and in Redis again.
#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted() {
    let (stage, mut redis) = tokio::join!(Stage::set(8, 4), private());
    let redis: &mut Redis = &mut redis;
    let url = redis.url();
    let added = [("CONVENE__REDIS__URL", url.as_str()), ("CONVENE__LIMITS__ENABLED", "true")];
    let serve = Process::start("serve", stage.settings(&added)).await;
    let alive = Vigil::over(&serve);
    serve.becomes(200, "ready").await;
    let mut guests = stage.guests.iter();
    let mut next = || guests.next().expect("there are enough guests");
    login(&serve, next()).await.expect(200);
    assert!(quotas(redis).is_some_and(|quotas| quotas > 0), "limits are kept in Redis");

    blocking(|| redis.kill());
    for _ in 0..3 {
        let asked = std::time::Instant::now();
        login(&serve, next()).await.expect(200);
        assert!(asked.elapsed() < FINDS_OUT_WITHIN, "{:?}", asked.elapsed());
    }
    serve.becomes(200, "degraded").await;
    // By the stricter quota of a process that does not know of the others.
    let tried_often = next();
    login(&serve, tried_often).await.expect(200);
    let limited = login(&serve, tried_often).await;
    assert!(limited.header("retry-after").is_some());
    limited.problem(429, "rate_limited");

    blocking(|| redis.restart());
    assert_eq!(quotas(redis), Some(0), "what was in memory is gone");
    let asked_again = next();
    poll_until(RECOVERS_WITHIN, "limits are kept in Redis again", async || {
        let status = login(&serve, asked_again).await.status;
        assert!(status < 500, "{status}");
        quotas(redis).filter(|quotas| *quotas > 0)
    })
    .await;
    serve.becomes(200, "ready").await;
    alive.end().await;
}
