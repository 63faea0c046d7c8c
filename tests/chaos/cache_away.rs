//! What is cached while Redis or the database is away.

use std::time::Instant;

use convene_testkit::poll::poll_until;
use serde_json::json;

use crate::guests::is_unavailable;
use crate::process::Process;
use crate::stage::{Stage, blocking, private};
use crate::{ANSWERS_WITHIN, RECOVERS_WITHIN};

/// What everybody may see is answered as it was known last, for a moment: then everybody is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_event_is_read_for_a_moment_without_the_database() {
    let mut stage = Stage::set(2, 4).await;
    let serve = Process::start("serve", stage.settings(&[])).await;
    let path = format!("/v1/events/{}", stage.event);
    let known = serve.get(&path).await.expect(200);
    serve.get(&path).by(&stage.guests[0]).await.expect(200);

    blocking(|| stage.postgres.stop());
    let gone = Instant::now();
    loop {
        let asked = gone.elapsed();
        let read = serve.get(&path).await;
        if read.status == 503 {
            is_unavailable(read);
            break;
        }
        assert!(asked < ANSWERS_WITHIN, "it is still read after {asked:?}");
        assert_eq!((read.status, read.etag(), &read.body), (200, known.etag(), &known.body));
    }
    is_unavailable(serve.get(&path).by(&stage.guests[0]).await);

    blocking(|| stage.postgres.restart());
    poll_until(RECOVERS_WITHIN, "it is read as it is now", async || {
        (serve.get(&path).by(&stage.guests[0]).await.status == 200).then_some(())
    })
    .await;
}

/// Each process caches for itself meanwhile, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_comes_back() {
    let (stage, mut redis) = tokio::join!(Stage::set(2, 4), private());
    let redis: &mut convene_testkit::embedded::Redis = &mut redis;
    let url = redis.url();
    let serve =
        Process::start("serve", stage.settings(&[("CONVENE__REDIS__URL", url.as_str())])).await;
    let path = format!("/v1/events/{}", stage.event);
    let guest = &stage.guests[0];
    for round in 0..3 {
        match round {
            1 => blocking(|| redis.kill()),
            2 => blocking(|| redis.restart()),
            _ => {}
        }
        for _ in 0..200 {
            serve.get(&path).by(guest).await.expect(200);
        }
        serve.get(format!("{path}x")).by(guest).await.expect(404);
        let join = serve.put(format!("{path}/rsvps/me")).by(guest).json(json!({})).await;
        assert!(join.status < 300, "{}", join.status);
    }
}
