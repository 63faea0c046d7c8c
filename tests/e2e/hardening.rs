//! What hostile clients and proxies try: it is refused, or means nothing.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

const PRODUCTION_HOSTS: (&str, &str) = ("CONVENE__HTTP__ALLOWED_HOSTS", "api.example,127.0.0.1");

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_this_server() {
    let app = App::start_with(&[PRODUCTION_HOSTS]).await;
    let ask = async |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        app.raw(request.as_bytes()).await
    };
    for good in ["host: api.example\r\n", "host: API.EXAMPLE:8443\r\n", "host: 127.0.0.1\r\n"] {
        let reply = ask(good, "/v1/communities").await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{good}: {reply:.200}");
    }
    // The server itself refuses what names none, or two.
    for bad in ["", "host: api.example\r\nhost: evil.example\r\n"] {
        let reply = ask(bad, "/v1/communities").await;
        assert!(reply.starts_with("HTTP/1.1 400"), "{reply:.200}");
    }
    for bad in [
        "host: evil.example\r\n",
        "host: api.example.evil.example\r\n",
        "host: api.example@evil.example\r\n",
        "host: evil.example\r\nx-forwarded-host: api.example\r\n",
    ] {
        let reply = ask(bad, "/v1/communities").await;
        assert!(reply.starts_with("HTTP/1.1 400"), "{bad}: {reply:.200}");
        assert!(reply.contains("\"code\":\"malformed_request\""), "{bad}: {reply}");
        assert!(reply.contains("x-content-type-options: nosniff"), "{bad}: {reply}");
    }
    // Load balancers ask by address.
    let reply = ask("host: 10.0.0.7:8080\r\n", "/readyz").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply:.200}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_what_the_request_line_says() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let path = format!("/v1/communities/{community}");
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let deletion = app.post(format!("{path}/join")).by(&olga).header(name, "DELETE");
        deletion.header("if-match", "*").await.expect(200);
        let read = app.get(format!("{path}?_method=DELETE")).by(&olga).header(name, "DELETE").await;
        assert!([200, 422].contains(&read.status), "{read:?}");
    }
    assert!(app.get(&path).by(&olga).await.expect(200).json()["archived_at"].is_null());
    for method in ["TRACE", "CONNECT", "TRACK", "DEBUG", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        if method == Method::CONNECT {
            let reply = app.raw(b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert!(reply.starts_with("HTTP/1.1 4"), "{reply:.200}");
            continue;
        }
        let secret = app.call(method, &path).by(&olga).header("x-secret", "hunter2").await;
        let allow = secret.header("allow").unwrap_or_default().to_owned();
        assert!(allow.contains("GET") && !allow.contains("TRACE"), "{allow}");
        assert!(!String::from_utf8_lossy(&secret.body).contains("hunter2"));
        secret.problem(405, "method_not_allowed");
    }
}

/// Nothing is unpacked, so nothing can blow up.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_refused() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    // The head of a gzip member; what follows would be gigabytes of zeros.
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 2_000]].concat();
    for coding in ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, gzip", "identity, gzip"] {
        let call = app.patch("/v1/users/me").by(&ada).header("if-match", "*");
        let call = call.header("content-type", "application/json");
        let answer = call.header("content-encoding", coding).bytes(bomb.clone()).await;
        answer.problem(415, "unsupported_media_type");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_origins_that_are_configured_may_read() {
    let app = App::start_with(&[("CONVENE__HTTP__CORS_ORIGINS", "https://app.example")]).await;
    let ask = async |method: Method, origin: &str| {
        let call = app.call(method, "/v1/communities").header("origin", origin);
        call.header("access-control-request-method", "GET").await
    };
    for method in [Method::GET, Method::OPTIONS] {
        let allowed = ask(method.clone(), "https://app.example").await;
        assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(allowed.header("access-control-allow-credentials"), None);
        for origin in [
            "null",
            "https://app.example.evil.example",
            "https://evil.example/https://app.example",
            "https://app.example:8443",
            "http://app.example",
            "https://APP.example.",
            "https://sub.app.example",
            "https://app.example, https://evil.example",
            "file://",
        ] {
            let refused = ask(method.clone(), origin).await;
            assert_eq!(refused.header("access-control-allow-origin"), None, "{method} {origin}");
            assert!(refused.status < 500, "{method} {origin}: {}", refused.status);
        }
    }
}

/// What people write means nothing to a browser, wherever it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn replies_are_safe_in_a_browser() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let name = "</script><svg onload=alert(1)>&\u{2028}";
    let change = app.patch("/v1/users/me").by(&olga).header("if-match", "*");
    let answer = change.json(json!({ "display_name": "<b>Olga</b> & co" })).await.expect(200);
    assert!(!answer.body.iter().any(|byte| b"<>&".contains(byte)), "{:?}", answer.body);
    assert_eq!(answer.json()["display_name"], "<b>Olga</b> & co");
    let refused = app.post("/v1/communities").by(&olga).json(json!({ name: 1 })).await;
    assert!(!refused.body.iter().any(|byte| b"<>&".contains(byte)), "{:?}", refused.body);
    assert!(!String::from_utf8_lossy(&refused.body).contains('\u{2028}'));
    assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
    refused.problem(422, "validation_failed");
    // The only pages for people show nobody's text but one's own mail, escaped.
    let page = app.get("/dev/mail").await.expect(200);
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
}

/// A client that asks and does not read is not waited for, with all that it asked for in memory.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_are_cut_off() {
    let app = App::start_with(&[("CONVENE__HTTP__WRITE_TIMEOUT", "1s")]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = app.base.trim_start_matches("http://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(&request.repeat(100)).await.unwrap();
    // A connection that the server has given up answers what is sent to it with a reset.
    let stream = stream.into_std().unwrap();
    poll_until(Duration::from_secs(30), "the server closes the connection", async || {
        let sent = (&stream).write(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n");
        sent.is_err_and(|error| error.kind() != ErrorKind::WouldBlock).then_some(())
    })
    .await;
    app.get("/livez").await.expect(200);
}
