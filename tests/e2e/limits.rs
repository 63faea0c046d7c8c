//! Limits on requests, as clients meet them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_api::app::Role;
use convene_testkit::redis::TestRedis;
use convene_tests::app::{App, database};
use convene_tests::client::Answer;

const ON: (&str, &str) = ("CONVENE__LIMITS__ENABLED", "true");
/// A path that costs one, and asks nobody's name.
const ONE: &str = "/v1/events/event_00000000000000000000000001";

fn policies(answer: &Answer) -> Vec<&str> {
    answer.header("ratelimit-policy").map(|field| field.split(", ").collect()).unwrap_or_default()
}

/// How many are let through before the first 429, and that one.
async fn until_limited(mut send: impl AsyncFnMut() -> Answer) -> (u32, Answer) {
    for sent in 0..100 {
        let answer = send().await;
        if answer.status == 429 {
            return (sent, answer);
        }
    }
    panic!("a hundred requests met no limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_tell_how_the_request_stands_with_each_limit() {
    let app = App::start_with(&[ON, ("CONVENE__HTTP__CORS_ORIGINS", "https://app.example")]).await;
    let ada = app.person("ada").await;
    let community = app.community(&ada).await;

    let (client, user, shared) =
        ("\"client\";q=6000;w=6", "\"user\";q=1200;w=12", "\"community\";q=3000;w=6");
    let anonymous = app.get("/v1/communities").await.expect(200);
    assert_eq!(policies(&anonymous), [client]);
    let left = anonymous.header("ratelimit").unwrap();
    assert!(left.starts_with("\"client\";r=59") && left.contains(";t="), "{left}");
    let me = app.get("/v1/users/me").by(&ada).await.expect(200);
    assert_eq!(policies(&me), [client, user]);
    let path = format!("/v1/communities/{community}");
    let read = app.get(&path).by(&ada).header("origin", "https://app.example").await.expect(200);
    assert_eq!(policies(&read), [client, user, shared]);
    let exposed = read.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    assert!(exposed.contains("ratelimit-policy") && exposed.contains("retry-after"), "{exposed}");
    assert_eq!(policies(&app.get(&path).await.expect(200)), [client, shared]);

    // Failures too, also those before anybody is known and those of no route.
    app.get("/v1/users/me").token("nonsense").await.problem(401, "unauthenticated");
    let failed = app.get("/v1/users/me").token("nonsense").await;
    assert_eq!(policies(&failed), [client]);
    assert_eq!(policies(&app.get("/nowhere").await.expect(404)), [client]);

    for free in ["/livez", "/readyz", "/.well-known/jwks.json"] {
        assert!(app.get(free).await.expect(200).header("ratelimit").is_none(), "{free}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_over_the_quota_is_told_when_to_come_back_and_stands_in_nobodys_way() {
    let settings =
        [ON, ("CONVENE__LIMITS__USER_BURST", "10"), ("CONVENE__LIMITS__USER_PER_MINUTE", "1")];
    let app = App::start_with(&settings).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    // Each has asked for their own profile once.
    let (sent, refused) = until_limited(async || app.get("/v1/users/me").by(&ada).await).await;
    assert_eq!(sent, 9);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let left = refused.header("ratelimit").unwrap().to_owned();
    assert!(left.starts_with("\"user\";r=0;t="), "{left}");
    let problem = refused.problem(429, "rate_limited");
    assert!(problem["request_id"].is_string(), "{problem}");

    app.get("/v1/users/me").by(&bob).await.expect(200);
    // Without the person's token nothing of this is the person's, and 401 stays 401.
    app.get("/v1/users/me").token("nonsense").await.problem(401, "unauthenticated");
    app.get("/v1/users/me").await.problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_community_has_a_quota_of_its_own() {
    let settings = [
        ON,
        ("CONVENE__LIMITS__COMMUNITY_BURST", "6"),
        ("CONVENE__LIMITS__COMMUNITY_PER_MINUTE", "1"),
    ];
    let app = App::start_with(&settings).await;
    let (sent, refused) =
        until_limited(async || app.get("/v1/communities/busy/events").await).await;
    assert_eq!(sent, 3, "a list costs two");
    refused.problem(429, "rate_limited");
    app.get("/v1/communities/quiet/events").await.problem(404, "not_found");
    app.get("/v1/communities").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_over_the_quota_gets_429_whatever_else_it_says() {
    let settings =
        [ON, ("CONVENE__LIMITS__CLIENT_BURST", "5"), ("CONVENE__LIMITS__CLIENT_PER_MINUTE", "1")];
    let app = App::start_with(&settings).await;
    // Wrong credentials cost as much as none.
    let (sent, refused) = until_limited(async || app.get(ONE).token("nonsense").await).await;
    assert_eq!(sent, 5);
    refused.problem(429, "rate_limited");
    app.get("/v1/users/me").token("nonsense").await.problem(429, "rate_limited");
    let spoofed = app.get(ONE).header("x-forwarded-for", "203.0.113.9").await;
    spoofed.problem(429, "rate_limited");
    for free in ["/livez", "/readyz", "/.well-known/jwks.json"] {
        app.get(free).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_a_quota() {
    let settings = [
        ON,
        ("CONVENE__LIMITS__CLIENT_BURST", "5"),
        ("CONVENE__LIMITS__CLIENT_PER_MINUTE", "1"),
        ("CONVENE__HTTP__TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let app = App::start_with(&settings).await;
    let from =
        async |address: &str| app.get(ONE).header("x-forwarded-for", address.to_owned()).await;
    // What stands left of the address that the proxy saw is made up.
    let made_up = |n: u32| format!("192.0.2.{n}, 203.0.113.9");
    let mut n = 0;
    let (sent, _) = until_limited(async || {
        n += 1;
        from(&made_up(n)).await
    })
    .await;
    assert_eq!(sent, 5);
    from("203.0.113.10").await.expect(404);

    // A subscriber's addresses are one client.
    let mut host = 0;
    let (sent, _) = until_limited(async || {
        host += 1;
        from(&format!("2001:db8:1:2::{host}")).await
    })
    .await;
    assert_eq!(sent, 5);
    from("2001:db8:1:3::1").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_quotas() {
    let redis = TestRedis::new();
    let settings = [
        ON,
        ("CONVENE__LIMITS__CLIENT_BURST", "10"),
        ("CONVENE__LIMITS__CLIENT_PER_MINUTE", "1"),
        ("CONVENE__REDIS__URL", redis.url()),
        ("CONVENE__REDIS__PREFIX", redis.prefix()),
    ];
    let database = Arc::new(database().await);
    let one = App::start_as(Role::Serve, Arc::clone(&database), &settings).await;
    let other = App::start_as(Role::Serve, database, &settings).await;
    let began = Instant::now();
    let mut admitted = 0;
    for _ in 0..10 {
        for app in [&one, &other] {
            admitted += u32::from(app.get(ONE).await.status != 429);
        }
    }
    let minutes = began.elapsed().as_secs() / Duration::from_mins(1).as_secs();
    assert!((10..=10 + minutes).contains(&u64::from(admitted)), "{admitted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_can_be_switched_off() {
    let settings =
        [("CONVENE__LIMITS__CLIENT_BURST", "1"), ("CONVENE__LIMITS__CLIENT_PER_MINUTE", "1")];
    let app = App::start_with(&settings).await;
    for _ in 0..20 {
        let answer = app.get("/v1/communities").await.expect(200);
        assert!(answer.header("ratelimit").is_none());
        assert!(answer.header("ratelimit-policy").is_none());
    }
}
