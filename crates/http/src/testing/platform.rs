//! Probes, documentation, request ids, CORS, shedding and the development mailbox.

use std::sync::Arc;

use actix_web::dev::Service as _;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use async_trait::async_trait;
use convene_application::kernel::store::Source;
use convene_contracts::{EVENT_TYPES, SchemaBase};
use jiff::Timestamp;
use tokio::runtime::Handle;

use super::notes::NoteService;
use super::{Answer, Ready, addressed, as_user, ask, ports, send, settings};
use crate::Http;
use crate::ports::{CheckState, DevMail, DevMessage, Ports};
use crate::settings::Settings;

async fn ask_of(http: &Arc<Http>, request: TestRequest) -> Answer {
    send(http, &Arc::new(NoteService::default()), request).await
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

#[actix_web::test]
async fn readiness_tells_what_is_down() {
    for (state, code, status) in [
        (CheckState::Up, 200, "ready"),
        (CheckState::Degraded, 200, "degraded"),
        (CheckState::Down, 503, "unavailable"),
    ] {
        let http = Http::new(
            settings(),
            Ports { readiness: Arc::new(Ready(state)), ..ports() },
            Handle::current(),
        );
        let answer = ask_of(&http, get("/readyz")).await;
        assert_eq!(answer.status.as_u16(), code);
        if code == 200 {
            assert_eq!(answer.json()["status"], status);
        } else {
            assert_eq!(answer.json()["code"], status);
            assert_eq!(answer.json()["status"], 503);
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
        assert_eq!(answer.json()["checks"][0]["name"], "database");
        http.drain();
        assert_eq!(ask_of(&http, get("/readyz")).await.status.as_u16(), 503);
        assert_eq!(ask_of(&http, get("/livez")).await.status.as_u16(), 200);
        assert_eq!(ask_of(&http, get("/v1/notes")).await.status.as_u16(), 200);
    }
}

#[actix_web::test]
async fn metrics_can_live_elsewhere() {
    assert_eq!(&ask(get("/metrics")).await.bytes[..], b"up 1\n");
    let http =
        Http::new(Settings { serve_metrics: false, ..settings() }, ports(), Handle::current());
    assert_eq!(ask_of(&http, get("/metrics")).await.status.as_u16(), 404);
}

/// Built from one state, in any order: the listener of operators must not take the API's document away.
#[actix_web::test]
async fn operators_can_have_a_listener_of_their_own() {
    let http =
        Http::new(Settings { serve_metrics: false, ..settings() }, ports(), Handle::current());
    let operators = init_service(crate::operations_app(&http)).await;
    for (path, status) in [("/metrics", 200), ("/livez", 200), ("/readyz", 200), ("/v1/notes", 404)]
    {
        let response = operators.call(addressed(get(path)).to_request()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let document = ask_of(&http, get("/openapi.json")).await.json();
    assert!(document["paths"]["/v1/notes/{event}"]["patch"].is_object());
    assert_eq!(ask_of(&http, TestRequest::delete().uri("/v1/notes")).await.status.as_u16(), 405);
}

#[actix_web::test]
async fn the_documentation_works_without_a_network() {
    let document = ask(get("/openapi.json")).await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let patch = &document["paths"]["/v1/notes/{event}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/merge-patch+json"].is_object());
    assert!(patch["responses"]["200"]["headers"]["ETag"].is_object());
    assert_eq!(patch["responses"]["428"]["$ref"], "#/components/responses/Problem");
    let page = ask(get("/docs")).await;
    let text = String::from_utf8(page.bytes.to_vec()).unwrap();
    assert!(!text.contains("<script>") && !text.contains("://"));
    let csp = page.header("content-security-policy").unwrap();
    assert!(csp.contains("script-src 'self';"), "{csp}");
    for link in text.split('"').filter(|part| part.starts_with("/docs/assets/")) {
        let asset = ask(get(link)).await;
        assert_eq!(asset.status.as_u16(), 200, "{link}");
        assert!(!asset.bytes.is_empty());
    }
    assert_eq!(ask(get("/docs/assets/index.html")).await.status.as_u16(), 404);
    let problem = ask(get("/docs/problems/invalid_cursor")).await;
    assert_eq!(problem.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(ask(get("/docs/problems/nonsense")).await.code(), "not_found");
    assert_eq!(ask(get("/docs/problems")).await.status.as_u16(), 200);
    assert_eq!(ask(get("/.well-known/jwks.json")).await.json()["keys"], serde_json::json!([]));
}

#[actix_web::test]
async fn consumers_of_events_find_what_they_read() {
    let base = SchemaBase::new("https://convene.example");
    let http =
        Http::new(Settings { schemas: base.clone(), ..settings() }, ports(), Handle::current());
    let asyncapi = ask_of(&http, get("/asyncapi.json")).await;
    assert_eq!(asyncapi.header("content-type"), Some("application/json"));
    assert_eq!(asyncapi.json()["asyncapi"], "3.0.0");
    for event_type in EVENT_TYPES.iter() {
        let example = event_type.example(&base);
        let dataschema = example["dataschema"].as_str().unwrap();
        let path = dataschema.strip_prefix("https://convene.example").unwrap();
        let schema = ask_of(&http, get(path)).await;
        assert_eq!(schema.status.as_u16(), 200, "{path}");
        assert_eq!(schema.header("content-type"), Some("application/schema+json"));
        assert_eq!(schema.json()["$id"], dataschema);
    }
    assert_eq!(ask_of(&http, get("/schemas/envelope.v1.json")).await.status.as_u16(), 200);
    for absent in ["/schemas/rsvp.confirmed.v999.json", "/schemas/rsvp.confirmed.v1", "/schemas"] {
        assert_eq!(ask_of(&http, get(absent)).await.code(), "not_found", "{absent}");
    }
}

#[actix_web::test]
async fn request_ids_are_kept_if_they_are_well_formed() {
    let longest = "a".repeat(128);
    for good in ["abc-DEF_123", longest.as_str()] {
        let answer = ask(get("/livez").insert_header(("x-request-id", good))).await;
        assert_eq!(answer.header("x-request-id"), Some(good));
    }
    for bad in ["", "a b", "é", "a.b", &"a".repeat(129)] {
        let answer = ask(get("/livez").insert_header(("x-request-id", bad))).await;
        let id = answer.header("x-request-id").unwrap();
        assert!(id != bad && id.len() == 36, "{id}");
    }
}

#[actix_web::test]
async fn use_cases_learn_who_asks_and_from_where() {
    let request = as_user(get("/v1/context"), 7)
        .peer_addr("198.51.100.7:4711".parse().unwrap())
        .insert_header(("user-agent", "x".repeat(300)))
        .insert_header(("x-request-id", "r-1"))
        .insert_header(("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    let context = ask(request).await.json();
    assert_eq!(context["actor"], "user_00000000000000000000000007");
    assert_eq!(context["request_id"], "r-1");
    assert_eq!(context["client_ip"], "198.51.100.7");
    assert_eq!(context["user_agent"].as_str().unwrap().len(), 256);
    let trace = context["traceparent"].as_str().unwrap();
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01"));
    assert!(!trace.contains("00f067aa0ba902b7"));
    let anonymous = ask(get("/v1/context")).await.json();
    assert_eq!(anonymous["actor"], "system");
    assert!(anonymous["traceparent"].is_string());
}

#[actix_web::test]
async fn only_configured_origins_may_call_from_browsers() {
    let origins = vec!["https://app.example".to_owned()];
    let http =
        Http::new(Settings { cors_origins: origins, ..settings() }, ports(), Handle::current());
    let preflight = |origin: &'static str| {
        TestRequest::default()
            .method(Method::OPTIONS)
            .uri("/v1/notes")
            .insert_header(("origin", origin))
            .insert_header(("access-control-request-method", "GET"))
            .insert_header(("access-control-request-headers", "authorization,if-match"))
    };
    let allowed = ask_of(&http, preflight("https://app.example")).await;
    assert_eq!(allowed.status.as_u16(), 200, "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    let refused = ask_of(&http, preflight("https://evil.example")).await;
    assert_eq!(refused.code(), "malformed_request");
    assert_eq!(refused.header("access-control-allow-origin"), None);
    // Failures must be readable by the page too.
    let failed =
        ask_of(&http, get("/nowhere").insert_header(("origin", "https://app.example"))).await;
    assert_eq!(failed.header("access-control-allow-origin"), Some("https://app.example"));
    let foreign =
        ask_of(&http, get("/v1/notes").insert_header(("origin", "https://evil.example"))).await;
    assert_eq!(foreign.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn beyond_the_cap_only_probes_are_answered() {
    let http = Http::new(Settings { max_in_flight: 0, ..settings() }, ports(), Handle::current());
    let refused = ask_of(&http, get("/v1/notes")).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("3"), "what matters least comes back last");
    assert_eq!(ask_of(&http, get("/livez")).await.status.as_u16(), 200);
}

struct OneMail;

#[async_trait]
impl DevMail for OneMail {
    async fn list(&self, to: Option<&str>) -> Result<Vec<DevMessage>, Source> {
        Ok(if to.is_none_or(|to| to == "ada@example.org") { vec![mail()] } else { Vec::new() })
    }

    async fn find(&self, id: &str) -> Result<Option<DevMessage>, Source> {
        Ok((id == "m1").then(mail))
    }
}

fn mail() -> DevMessage {
    DevMessage {
        id: "m1".to_owned(),
        from: "convene@example.org".to_owned(),
        to: "ada@example.org".to_owned(),
        subject: "<b>Hi</b> & \"bye\"".to_owned(),
        sent_at: Timestamp::UNIX_EPOCH,
        text: "token: <abc>".to_owned(),
        html: Some("<script>alert(1)</script>".to_owned()),
    }
}

#[actix_web::test]
async fn the_mailbox_shows_mails_without_trusting_them() {
    let http = Http::new(
        settings(),
        Ports { dev_mail: Some(Arc::new(OneMail)), ..ports() },
        Handle::current(),
    );
    for path in ["/dev/mail", "/dev/mail/m1"] {
        let page = ask_of(&http, get(path)).await;
        let text = String::from_utf8(page.bytes.to_vec()).unwrap();
        assert!(text.contains("&lt;b&gt;Hi&lt;/b&gt; &amp; &quot;bye&quot;"), "{text}");
        assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
    }
    let found = ask_of(&http, get("/dev/mail/messages?to=ada%40example.org")).await.json();
    assert_eq!(found["data"][0]["text"], "token: <abc>");
    let none = ask_of(&http, get("/dev/mail/messages?to=eve%40example.org")).await.json();
    assert_eq!(none["data"], serde_json::json!([]));
    assert_eq!(ask_of(&http, get("/dev/mail/m2")).await.code(), "not_found");
    let wrong = ask_of(&http, TestRequest::delete().uri("/dev/mail")).await;
    assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    // Without the mailbox there are no such pages.
    assert_eq!(ask(get("/dev/mail")).await.status.as_u16(), 404);
}
