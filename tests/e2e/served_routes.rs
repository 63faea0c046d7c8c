//! The served routes against the document, both ways.

use std::collections::BTreeSet;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::PATIENCE;
use convene_tests::openapi::Access;
use convene_tests::scene::{Cast, Venue};
use reqwest::Method;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_is_served_and_every_route_documented() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    let document = app.openapi().await;

    let documented: BTreeSet<(String, String)> =
        document.operations.iter().map(|o| (o.method.to_string(), o.path.clone())).collect();
    let listed: BTreeSet<(String, String)> =
        convene_http::routes().into_iter().map(|route| (route.method, route.path)).collect();
    assert_eq!(documented, listed, "`convene routes` lists what the document holds");

    for operation in &document.operations {
        let path = operation.path_with(|name| place.segment(&cast, name));
        let answer = app.call(operation.method.clone(), &path).await;
        match operation.access {
            Access::Required => drop(answer.problem(401, "unauthenticated")),
            _ => assert!(![404, 405].contains(&answer.status), "{}", operation.label()),
        }
        let allowed = app.call(Method::OPTIONS, &path).await.expect(204);
        let allowed: BTreeSet<&str> = allowed.header("allow").unwrap_or("").split(", ").collect();
        assert!(
            allowed.contains(operation.method.as_str()),
            "{} in {allowed:?}",
            operation.label()
        );
        assert_eq!(allowed.contains("HEAD"), allowed.contains("GET"), "{}", operation.label());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_documented_is_not_there() {
    let app = App::start().await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/communities/",
        "/v1/users",
        "/v2/communities",
        "/v1/communities/comm_01k6sw8zayf9g8yasc3mf0yjhq/members/me/",
        "/V1/communities",
        "//v1/communities",
        "/.git/config",
        "/openapi.yaml",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            app.call(method, path).await.problem(404, "not_found");
        }
        let head = app.call(Method::HEAD, path).await.expect(404);
        assert!(head.body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_refused_with_those_there_are() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    let document = app.openapi().await;
    let made_up = Method::from_bytes(b"BREW").expect("any token is a method");
    let all = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::TRACE,
        made_up,
    ];
    let paths: BTreeSet<&str> = document.operations.iter().map(|o| o.path.as_str()).collect();
    for template in paths {
        let served: Vec<&Method> =
            document.operations.iter().filter(|o| o.path == template).map(|o| &o.method).collect();
        let of_path = document.operations.iter().find(|o| o.path == template).expect("it has one");
        let path = of_path.path_with(|name| place.segment(&cast, name));
        for method in all.iter().filter(|method| !served.contains(method)) {
            let answer = app.call(method.clone(), &path).by(&cast.owner).await;
            let allowed = answer.header("allow").expect("405 says what is allowed").to_owned();
            answer.problem(405, "method_not_allowed");
            for served in &served {
                assert!(allowed.split(", ").any(|allowed| allowed == served.as_str()), "{path}");
            }
            assert!(!allowed.split(", ").any(|allowed| allowed == method.as_str()), "{path}");
        }
    }
}

/// These two tell the time or what was called, and change from one call to the next.
const MOVING: [&str; 2] = ["get_metrics", "get_webhook_stats"];

/// The head of a reply to HEAD is that of the reply to GET.
#[tokio::test(flavor = "multi_thread")]
async fn head_works_as_get() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    let document = app.openapi().await;
    for operation in document.operations.iter().filter(|o| o.method == Method::GET) {
        let path = operation.path_with(|name| place.segment(&cast, name));
        // Logs and deliveries go on growing for a moment: what is said twice in the same way is said in between, too.
        let (get, head) =
            poll_until(PATIENCE, "nothing changes from one call to the next", async || {
                let get = app.get(&path).by(&cast.owner).await;
                let head = app.call(Method::HEAD, &path).by(&cast.owner).await;
                let again = app.get(&path).by(&cast.owner).await;
                let is_still =
                    get.body.len() == again.body.len() || MOVING.contains(&operation.id.as_str());
                is_still.then_some((get, head))
            })
            .await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for header in ["content-type", "etag", "cache-control", "link", "vary"] {
            assert_eq!(head.header(header), get.header(header), "{header} of {path}");
        }
        if !MOVING.contains(&operation.id.as_str()) {
            let length = get.body.len().to_string();
            assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
        }
    }
}

/// On successes and failures, inside of the router and out, and relaxed for the pages for people alone.
#[tokio::test(flavor = "multi_thread")]
async fn every_reply_has_its_security_headers() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    let too_large = "a".repeat(2 << 20);
    let replies = [
        app.get("/v1/communities").await.expect(200),
        app.get("/v1/users/me").by(&ada).await.expect(200),
        app.get("/openapi.json").await.expect(200),
        app.get("/livez").await.expect(200),
        app.get("/readyz").await.expect(200),
        app.get("/metrics").await.expect(200),
        app.get("/.well-known/jwks.json").await.expect(200),
        app.get("/docs").await.expect(200),
        app.get("/docs/problems").await.expect(200),
        app.get("/docs/problems/nothing").await.expect(404),
        app.get("/dev/mail").await.expect(200),
        app.get("/v1/users/me").await.expect(401),
        app.get("/v1/nothing").await.expect(404),
        app.delete("/v1/users/me").await.expect(405),
        app.call(Method::OPTIONS, "/v1/users/me").await.expect(204),
        app.call(Method::HEAD, "/v1/users/me").by(&ada).await.expect(200),
        app.get("/v1/communities?limit=0").await.expect(422),
        app.get("/v1/communities?limit=%FF").await.expect(400),
        app.get("/v1/communities").header("accept", "text/html").await.expect(406),
        app.get("/v1/communities").header("x-long", "a".repeat(40_000)).await.expect(431),
        app.post("/v1/communities").by(&ada).bytes("{").await.expect(415),
        app.post("/v1/communities").by(&ada).json(Value::Null).await.expect(422),
        app.patch("/v1/users/me").by(&ada).json(Value::Null).await.expect(428),
        app.post("/v1/auth/login")
            .header("content-type", "application/json")
            .bytes(too_large)
            .await
            .expect(413),
    ];
    for reply in replies {
        let relaxed = ["/docs", "/dev/mail"].iter().any(|page| reply.request.contains(page));
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'; "), "{}: {policy}", reply.request);
        assert_eq!(
            policy != "default-src 'none'; frame-ancestors 'none'",
            relaxed,
            "{}",
            reply.request
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{}: {policy}", reply.request);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name} of {}", reply.request);
        }
        let hsts = reply.header("strict-transport-security").unwrap_or_default();
        assert!(hsts.starts_with("max-age="), "{}", reply.request);
        assert!(reply.header("x-request-id").is_some(), "{}", reply.request);
        assert_eq!(reply.header("server"), None, "{}", reply.request);
    }
}
