//! What is read from the caches is never older than promised: at once for whoever wrote, within a second elsewhere.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_api::app::Role;
use convene_testkit::poll::poll_until;
use convene_testkit::redis::TestRedis;
use convene_tests::app::{App, database};
use convene_tests::client::Person;
use futures::future::join_all;
use serde_json::json;

/// What is promised between two processes. The clock starts when the change is answered; a machine that is busy with
/// other tests needs some time on top.
const ELSEWHERE: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(2);

/// Two processes over one database and one Redis.
struct Two {
    here: App,
    there: App,
    redis: TestRedis,
}

impl Two {
    async fn start() -> Self {
        let redis = tokio::task::spawn_blocking(TestRedis::new).await.expect("there is a Redis");
        let database = Arc::new(database().await);
        let settings =
            [("CONVENE__REDIS__URL", redis.url()), ("CONVENE__REDIS__PREFIX", redis.prefix())];
        let here = App::start_as(Role::Both, Arc::clone(&database), &settings).await;
        let there = App::start_as(Role::Serve, database, &settings).await;
        Self { here, there, redis }
    }

    /// Keys of this test's caches in Redis.
    fn shared(&self) -> Vec<String> {
        self.ask(&format!("KEYS {}", self.redis.key("cache:*")))
    }

    /// What Redis answers to an inline command.
    fn ask(&self, command: &str) -> Vec<String> {
        let address = self.redis.url().trim_start_matches("redis://").split('/').next();
        let mut stream = TcpStream::connect(address.expect("an address")).expect("Redis answers");
        stream.write_all(format!("{command}\r\n").as_bytes()).expect("Redis listens");
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("Redis answers"));
        let mut line = || lines.next().expect("a whole answer");
        let first = line();
        match first.split_at(1) {
            ("*", length) => (0..length.parse::<usize>().expect("a length"))
                .map(|_| {
                    assert!(line().starts_with('$'));
                    line()
                })
                .collect(),
            (":", number) => vec![number.to_owned()],
            _ => panic!("{command} was answered with {first}"),
        }
    }
}

async fn title(app: &App, person: &Person, event: &str) -> String {
    let body = app.get(format!("/v1/events/{event}")).by(person).await.expect(200).json();
    body["title"].as_str().expect("a title").to_owned()
}

/// Asks until the answer is as wanted, and insists that this is so within a second of the change.
async fn within_a_second(what: &str, changed: Instant, probe: impl AsyncFn() -> bool) {
    poll_until(ELSEWHERE + BUSY, what, async || probe().await.then_some(())).await;
    assert!(changed.elapsed() < ELSEWHERE + BUSY, "{what} took {:?}", changed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_reads_it_at_once_and_others_within_a_second() {
    let two = Two::start().await;
    let owner = two.here.person("owner").await;
    let community = two.here.community(&owner).await;
    let event = two.here.event(&owner, &community, Some(5)).await;
    let path = format!("/v1/events/{event}");
    for round in 0..5 {
        for app in [&two.here, &two.there] {
            // Twice, so that the second comes out of the cache.
            app.get(&path).by(&owner).await.expect(200);
            app.get(&path).by(&owner).await.expect(200);
        }
        let new = format!("Title {round}");
        let patch = two.here.patch(&path).by(&owner).header("if-match", "*");
        let changed = patch.json(json!({"title": new, "capacity": 6 + round})).await.expect(200);
        let at = Instant::now();
        let read = two.here.get(&path).by(&owner).await.expect(200);
        assert_eq!((read.etag(), &read.body), (changed.etag(), &changed.body), "at once, whole");
        within_a_second("the new title is read elsewhere", at, async || {
            title(&two.there, &owner, &event).await == new
        })
        .await;
    }
    let slug = two.here.get(format!("/v1/communities/{community}")).await.expect(200).json();
    let slug = slug["slug"].as_str().expect("a slug").to_owned();
    for name in [&slug, &community] {
        two.there.get(format!("/v1/communities/{name}")).await.expect(200);
    }
    let patch =
        two.here.patch(format!("/v1/communities/{slug}")).by(&owner).header("if-match", "*");
    patch.json(json!({"name": "Another name"})).await.expect(200);
    let at = Instant::now();
    for name in [&slug, &community] {
        within_a_second("the new name is read elsewhere", at, async || {
            let path = format!("/v1/communities/{name}");
            two.there.get(path).await.expect(200).json()["name"] == "Another name"
        })
        .await;
    }
    let shared = two.shared();
    assert!(!shared.is_empty(), "values are shared");
    for key in shared {
        let life: i64 = two.ask(&format!("PTTL {key}"))[0].parse().expect("a number");
        // -2 is a key that has just ended; -1 would be one that never does.
        assert!(life == -2 || (0..=66_000).contains(&life), "{key} lives for {life} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_lost_elsewhere_within_a_second() {
    let two = Two::start().await;
    let (owner, member) = tokio::join!(two.here.person("owner"), two.here.person("member"));
    let community = two.here.community_of(&owner, "private").await;
    let at_community = format!("/v1/communities/{community}");
    two.there.get(&at_community).by(&member).await.problem(404, "not_found");
    let opened = two.here.patch(&at_community).by(&owner).header("if-match", "*");
    opened.json(json!({"visibility": "public"})).await.expect(200);
    two.here.join(&member, &community).await;
    let closed = two.here.patch(&at_community).by(&owner).header("if-match", "*");
    closed.json(json!({"visibility": "private"})).await.expect(200);
    let event = two.here.event(&owner, &community, None).await;
    let at_event = format!("/v1/events/{event}");
    within_a_second("the member reads it elsewhere", Instant::now(), async || {
        two.there.get(&at_event).by(&member).await.status == 200
    })
    .await;
    for path in [&at_community, &at_event] {
        two.there.get(path).by(&member).await.expect(200);
        two.there.get(path).await.problem(404, "not_found");
    }

    two.here.post(format!("{at_community}/leave")).by(&member).await.expect(204);
    let left = Instant::now();
    for path in [&at_community, &at_event] {
        two.here.get(path).by(&member).await.problem(404, "not_found");
        within_a_second("who left sees nothing elsewhere", left, async || {
            two.there.get(path).by(&member).await.status == 404
        })
        .await;
        two.there.get(path).by(&owner).await.expect(200);
    }

    // A draft is there for who manages it, and for all once it is published.
    let draft = two.here.draft(&owner, &community, None).await;
    let at_draft = format!("/v1/events/{draft}");
    two.there.get(&at_draft).by(&owner).await.expect(200);
    two.here.delete(&at_community).by(&owner).header("if-match", "*").await.expect(204);
    two.here.get(&at_community).by(&owner).await.expect(200);
    let archived = Instant::now();
    within_a_second("the archiving is seen elsewhere", archived, async || {
        two.there.get(&at_community).by(&owner).await.json()["archived_at"].is_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_is_read_without_the_database() {
    let two = Two::start().await;
    let owner = two.here.person("owner").await;
    let community = two.here.community_of(&owner, "private").await;
    let event = two.here.event(&owner, &community, None).await;
    let paths = [format!("/v1/events/{event}"), format!("/v1/communities/{community}")];
    let sql = two.here.sql().await;
    let rename = async |from: &str, to: &str| {
        for table in ["events", "communities", "members"] {
            let statement = format!("ALTER TABLE {from}{table} RENAME TO {to}{table}");
            sql.batch_execute(&statement).await.expect("the test owns the tables");
        }
    };
    let crowd = async |path: &str| {
        let asked = (0..50).map(|n| {
            let app = if n % 2 == 0 { &two.here } else { &two.there };
            async { app.get(path).by(&owner).await }
        });
        join_all(asked).await
    };
    // What is cached may be due to be loaded again in that very moment, and then the database is missed: so once is enough.
    poll_until(Duration::from_secs(60), "a crowd is answered without the database", async || {
        for path in &paths {
            crowd(path).await;
        }
        rename("", "hidden_").await;
        let answers = [crowd(&paths[0]).await, crowd(&paths[1]).await];
        rename("hidden_", "").await;
        answers.iter().flatten().all(|answer| answer.status == 200).then_some(())
    })
    .await;

    // Whatever Redis loses is loaded again.
    let lost = two.shared();
    assert!(!lost.is_empty(), "values are shared");
    for key in lost {
        two.ask(&format!("DEL {key}"));
    }
    for path in &paths {
        let answers = poll_until(Duration::from_secs(10), "all is loaded again", async || {
            let answers = crowd(path).await;
            answers.iter().all(|answer| answer.status == 200).then_some(answers)
        })
        .await;
        assert!(answers.iter().all(|answer| answer.etag() == answers[0].etag()), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_redis_that_is_configured_everything_is_cached_in_the_process() {
    let app = App::start_with(&[("CONVENE__REDIS__URL", "redis://127.0.0.1:1")]).await;
    let owner = app.person("owner").await;
    let community = app.community_of(&owner, "private").await;
    let event = app.event(&owner, &community, None).await;
    let path = format!("/v1/events/{event}");
    for round in 0..10 {
        app.get(&path).by(&owner).await.expect(200);
        app.get(&path).await.problem(404, "not_found");
        let new = format!("Title {round}");
        let patch = app.patch(&path).by(&owner).header("if-match", "*");
        patch.json(json!({"title": new})).await.expect(200);
        assert_eq!(title(&app, &owner, &event).await, new);
    }
}
