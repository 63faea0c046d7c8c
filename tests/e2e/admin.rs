//! What administrators of the platform are served: on a listener of its own, and nobody else anything.

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{Answer, Call, Client, PATIENCE, text};
use convene_tests::scene::{Actor, Cast};
use serde_json::{Value, json};

const REASON: &str = "Ticket 4711: the mail server was down";

async fn start() -> (App, Cast) {
    let app = App::start_with(&[("CONVENE__ADMIN__BIND", "127.0.0.1:0")]).await;
    let cast = Cast::gather(&app).await;
    (app, cast)
}

fn listener(app: &App) -> &Client {
    app.admin.as_ref().expect("it was asked for")
}

/// A call by the administrator, with a reason.
async fn ask(cast: &Cast, call: Call<'_>) -> Answer {
    let admin = cast.person(Actor::PlatformAdmin).expect("the administrator is somebody");
    call.by(admin).header("convene-reason", REASON).await
}

/// Stores jobs that died.
async fn dead_jobs(app: &App, kinds: &[&str]) {
    for (number, kind) in (1_000_000_i64..).zip(kinds) {
        app.sql()
            .await
            .execute(
                "INSERT INTO jobs_dead (job_id, kind, queue, payload, priority, attempt, max_attempts, last_error, created_at)
                 VALUES ($1, $2, 'a-test', '{}', 0, 20, 20, 'it broke', now())",
                &[&number, kind],
            )
            .await
            .expect("it is stored");
    }
}

/// The entries of this action outside of communities, once there are so many: object and what was told.
async fn audited(app: &App, action: &str, count: usize) -> Vec<(String, String, Value)> {
    let sql = app.sql().await;
    poll_until(PATIENCE, "the entries are in the log", async || {
        let rows = sql
            .query(
                "SELECT object, outcome, changed::text FROM audit_log
                 WHERE action = $1 AND chain_id = '00000000-0000-0000-0000-000000000000' ORDER BY number",
                &[&action],
            )
            .await
            .expect("the log can be read");
        let entries: Vec<(String, String, Value)> =
            rows.iter().map(|row| (row.get(0), row.get(1), told(row.get(2)))).collect();
        (entries.len() >= count).then_some(entries)
    })
    .await
}

fn told(json: &str) -> Value {
    serde_json::from_str(json).expect("what is told is JSON")
}

/// Every route with its method.
async fn routes(app: &App, cast: &Cast) -> Vec<(reqwest::Method, String)> {
    let document = ask(cast, listener(app).get("/admin/openapi.json")).await.expect(200).json();
    let paths = document["paths"].as_object().expect("the document has paths");
    let mut routes = Vec::new();
    for (path, item) in paths {
        for method in item.as_object().expect("a path has operations").keys() {
            let method = method.to_uppercase().parse().expect("it is a method");
            routes.push((method, path.replace("{job}", "1000000")));
        }
    }
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_administrators_is_told_anything() {
    let (app, cast) = start().await;
    let admin = listener(&app);
    let mut routes = routes(&app, &cast).await;
    assert!(routes.len() >= 9, "{routes:?}");
    routes.push((reqwest::Method::GET, "/admin/no-such-page".to_owned()));
    routes.push((reqwest::Method::DELETE, "/admin/jobs".to_owned()));
    let mut refusals = 0;
    for (method, path) in &routes {
        let call = || admin.call(method.clone(), path.clone()).header("convene-reason", REASON);
        call().await.problem(401, "unauthenticated");
        call().header("authorization", "Bearer nonsense").await.problem(401, "unauthenticated");
        for actor in [Actor::Stranger, Actor::Owner] {
            let person = cast.person(actor).expect("it is somebody");
            call().by(person).await.problem(403, "forbidden");
            refusals += 1;
        }
    }
    assert!(refusals > 20);
    let refused = audited(&app, "platform.inspect", 10).await;
    assert!(refused.iter().all(|(_, outcome, _)| outcome == "refused"), "{refused:?}");
    assert!(refused.iter().any(|(object, ..)| object == "GET /admin/status"), "{refused:?}");

    // An administrator is told what is not there, and nothing of it is on the public listener.
    ask(&cast, admin.get("/admin/no-such-page")).await.problem(404, "not_found");
    ask(&cast, admin.delete("/admin/jobs")).await.problem(405, "method_not_allowed");
    ask(&cast, admin.get("/v1/users/me")).await.problem(404, "not_found");
    ask(&cast, app.get("/admin/status")).await.problem(404, "not_found");
    // Who is an administrator no more is none at once.
    app.sql().await.batch_execute("DELETE FROM platform_admins").await.expect("it can be taken");
    ask(&cast, admin.get("/admin/status")).await.problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_what_there_is() {
    let (app, cast) = start().await;
    dead_jobs(&app, &["a.kind"]).await;
    let status = poll_until(PATIENCE, "the engines have begun", async || {
        let answer = ask(&cast, listener(&app).get("/admin/status")).await.expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let status = answer.json();
        let led = !status["workers"].as_array().expect("a list").is_empty();
        let ticked = status["last_duty_seconds"].is_number();
        let fresh = status["feeds"].as_array().expect("a list").iter().all(|f| f["fresh"] == true);
        (led && ticked && fresh).then_some(status)
    })
    .await;
    assert!(text(&status["version"]).starts_with(env!("CARGO_PKG_VERSION")));
    assert_eq!(status["draining"], false);
    assert!(status["uptime_seconds"].as_i64().expect("a number") >= 0);
    let names = |list: &str, name: &str| -> Vec<String> {
        let list = status[list].as_array().expect("a list");
        list.iter().map(|item| text(&item[name])).collect()
    };
    assert_eq!(names("dependencies", "name"), ["database", "migrations"]);
    for dependency in status["dependencies"].as_array().expect("a list") {
        assert_eq!(dependency["state"], "up");
        assert!(dependency["since"].is_string() && dependency["latency_ms"].is_number());
    }
    assert_eq!(names("pools", "name"), ["api", "jobs", "sinks"]);
    assert_eq!(names("feeds", "name"), ["revocations", "invalidations"]);
    assert_eq!(status["outbox"]["sinks"][0]["sink"], "bus");
    assert_eq!(status["outbox"]["sinks"][0]["led"], true);
    assert_eq!(status["workers"][0]["sinks"], json!(["bus"]));
    let queues = status["queues"].as_array().expect("a list");
    let queue = queues.iter().find(|queue| queue["queue"] == "a-test").expect("it has a letter");
    assert_eq!(queue["dead"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_tried_again_and_cancelled_with_a_reason() {
    let (app, cast) = start().await;
    let admin = listener(&app);
    dead_jobs(&app, &["a.kind", "a.kind", "b.kind"]).await;
    let list = ask(&cast, admin.get("/admin/jobs?state=dead&limit=2")).await.expect(200).json();
    assert_eq!((list["data"].as_array().map(Vec::len), &list["has_more"]), (Some(2), &json!(true)));
    let list = ask(&cast, admin.get("/admin/jobs?kind=b.kind")).await.expect(200).json();
    assert_eq!(list["has_more"], false);
    let job = &list["data"][0];
    assert_eq!((&job["id"], &job["state"]), (&json!(1_000_002), &json!("dead")));
    assert_eq!((&job["last_error"], &job["run_at"]), (&json!("it broke"), &Value::Null));
    assert!(job.get("payload").is_none(), "it may be personal");
    for (query, parameter) in [("limit=0", "limit"), ("state=ill", "state"), ("page=2", "page")] {
        let problem = ask(&cast, admin.get(format!("/admin/jobs?{query}"))).await;
        let problem = problem.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}");
    }
    for path in ["/admin/jobs/17", "/admin/jobs/x", "/admin/jobs/-1"] {
        ask(&cast, admin.get(path)).await.problem(404, "not_found");
    }

    // Nothing happens without a reason, and what happens is in the log with it.
    let person = cast.person(Actor::PlatformAdmin).expect("the administrator is somebody");
    let retry = || admin.post("/admin/jobs/1000000/retry");
    retry().by(person).await.problem(422, "validation_failed");
    let short = retry().by(person).header("convene-reason", "x").await;
    short.problem(422, "validation_failed");
    ask(&cast, admin.get("/admin/jobs/1000000")).await.expect(200);
    let retried = ask(&cast, retry()).await.expect(200);
    assert_eq!(retried.json()["outcome"], "revived");
    let request = retried.header("x-request-id").expect("it has an id");
    ask(&cast, retry()).await.problem(404, "not_found");
    let removed = ask(&cast, admin.post("/admin/jobs/1000001/cancel")).await.expect(200).json();
    assert_eq!(removed["removed"], json!(["dead"]));
    let redrive = admin.post("/admin/jobs/redrive").json(json!({"kind": "b.kind"}));
    assert_eq!(ask(&cast, redrive).await.expect(200).json()["revived"], 1);
    let none = admin.post("/admin/jobs/redrive").json(json!({}));
    assert_eq!(ask(&cast, none).await.expect(200).json()["revived"], 0);

    let operated = audited(&app, "platform.operate", 5).await;
    assert!(
        operated.iter().all(|(_, outcome, told)| {
            outcome == "done" && told == &json!({ "reason": REASON })
        })
    );
    let objects: Vec<&str> = operated.iter().map(|(object, ..)| object.as_str()).collect();
    assert_eq!(objects[0], "POST /admin/jobs/1000000/retry");
    assert_eq!(audited(&app, "job.retry", 1).await[0].0, "job:1000000");
    let row = app
        .sql()
        .await
        .query_one(
            "SELECT count(*), count(DISTINCT actor) FROM audit_log WHERE request_id = $1",
            &[&request],
        )
        .await
        .expect("the log can be read");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 1), "the reason and the act");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_no_such_job_comes_before_a_query_that_nobody_reads() {
    let (app, cast) = start().await;
    let admin = listener(&app);
    dead_jobs(&app, &["a.kind"]).await;
    for verb in ["retry", "cancel"] {
        let absent = admin.post(format!("/admin/jobs/17/{verb}?made_up=1"));
        ask(&cast, absent).await.problem(404, "not_found");
        let there = admin.post(format!("/admin/jobs/1000000/{verb}?made_up=1"));
        ask(&cast, there).await.problem(422, "validation_failed");
    }
    // Nothing was done to it.
    let found = ask(&cast, admin.get("/admin/jobs/1000000")).await.expect(200).json();
    assert_eq!(found["data"][0]["state"], "dead");
}

/// This process logs as the test wants it: the filter of a real one is tried beside its code.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_logs_of_its_own_says_so() {
    let (app, cast) = start().await;
    let admin = listener(&app);
    ask(&cast, admin.get("/admin/log-filter")).await.problem(503, "unavailable");
    let put = |body: Value| admin.put("/admin/log-filter").json(body);
    ask(&cast, put(json!({"filter": "info"}))).await.problem(503, "unavailable");
    for wrong in [json!({"filter": ""}), json!({"filter": "info", "minutes": 1441}), json!({})] {
        ask(&cast, put(wrong)).await.problem(422, "validation_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_there_is_no_listener() {
    let app = App::start().await;
    assert!(app.admin.is_none());
}
