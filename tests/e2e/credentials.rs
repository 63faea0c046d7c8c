//! Who has no valid access token is nobody.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{Answer, PATIENCE};
use convene_tests::openapi::{Access, Operation};
use serde_json::{Value, json};

/// A path with ids of the right form that name nothing: who calls is asked before what is there.
fn nowhere(operation: &Operation) -> String {
    operation.path_with(|name| {
        let prefix = match name {
            "community" => "comm",
            "webhook" => "hook",
            "delivery" => "hdlv",
            "replay" => "hrpl",
            "file" => return "start.js".to_owned(),
            "code" => return "internal".to_owned(),
            "document" => return "rsvp.confirmed.v1".to_owned(),
            other => other,
        };
        format!("{prefix}_01k6sw8zayf9g8yasc3mf0yjhq")
    })
}

fn assert_unauthenticated(answer: Answer, code: &str, operation: &Operation) {
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{}", operation.label());
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", operation.label());
    answer.problem(401, code);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_without_credentials() {
    let app = App::start().await;
    let document = app.openapi().await;
    let mut refused = 0;
    for operation in &document.operations {
        let answer = app.call(operation.method.clone(), nowhere(operation)).await;
        if operation.access == Access::Required {
            assert_unauthenticated(answer, "unauthenticated", operation);
            refused += 1;
        } else {
            assert!(![401, 403].contains(&answer.status), "{}", operation.label());
            assert_eq!(answer.header("www-authenticate"), None, "{}", operation.label());
        }
    }
    assert!(refused > 25, "{refused} operations need credentials");
}

/// A token that is not good is refused wherever it could matter, also where none is needed; where nobody asks for it, it
/// does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_with_credentials_that_are_not_good() {
    let app = App::start().await;
    let document = app.openapi().await;
    let person = app.person("ada").await;
    for (what, header) in bad_credentials(&person.token) {
        for operation in &document.operations {
            let call = app.call(operation.method.clone(), nowhere(operation));
            let answer = call.header("authorization", header.clone()).await;
            if operation.access == Access::Public {
                assert_ne!(answer.status, 401, "{} with {what}", operation.label());
            } else {
                assert_unauthenticated(answer, "unauthenticated", operation);
            }
        }
    }
}

/// Values of `Authorization` that look more and more like a good one.
fn bad_credentials(good: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{good} is no JWT") };
    let forged = |header: &Value, claims: &Value| {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let key = Ed25519KeyPair::generate().expect("a key can be made");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
        (format!("Bearer {signed}.{signature}"), URL_SAFE_NO_PAD.encode(key.public_key()))
    };
    let (header_json, claims_json) = (decoded(header), decoded(claims));
    let without_kid = json!({"alg": "EdDSA", "typ": "at+jwt"});
    let other_kid = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "of-somebody-else"});
    let (_, key) = forged(&other_kid, &claims_json);
    let with_key = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": header_json["kid"],
        "jwk": {"kty": "OKP", "crv": "Ed25519", "x": key}});
    let unsigned = json!({"alg": "none", "typ": "at+jwt", "kid": header_json["kid"]});
    let hmac = json!({"alg": "HS256", "typ": "at+jwt", "kid": header_json["kid"]});
    let mut longer = claims_json.clone();
    longer["exp"] = json!(4_102_444_800_i64);
    let altered = URL_SAFE_NO_PAD.encode(longer.to_string());
    vec![
        ("no scheme", good.to_owned()),
        ("another scheme", format!("Basic {good}")),
        ("no token", "Bearer".to_owned()),
        ("garbage", "Bearer garbage".to_owned()),
        ("too much", format!("Bearer {}", "a".repeat(5_000))),
        ("two tokens", format!("Bearer {good} {good}")),
        ("no signature", format!("Bearer {header}.{claims}.")),
        ("altered claims", format!("Bearer {header}.{altered}.{signature}")),
        ("a foreign key", forged(&header_json, &claims_json).0),
        ("a foreign key's name", forged(&other_kid, &claims_json).0),
        ("no key's name", forged(&without_kid, &claims_json).0),
        ("a key of its own", forged(&with_key, &claims_json).0),
        ("no algorithm", forged(&unsigned, &claims_json).0),
        ("another algorithm", forged(&hmac, &claims_json).0),
    ]
}

fn decoded(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("parts of a JWT are base64url");
    serde_json::from_slice(&bytes).expect("parts of a JWT are JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_expires() {
    let app = App::start_with(&[("CONVENE__AUTH__ACCESS_TOKEN_LIFETIME", "2s")]).await;
    let mut person = app.person("ada").await;
    app.login(&mut person).await;
    app.get("/v1/users/me").by(&person).await.expect(200);
    let expired = poll_until(PATIENCE, "the access token expires", async || {
        let answer = app.get("/v1/users/me").by(&person).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    let document = app.openapi().await;
    assert_unauthenticated(expired, "token_expired", document.operation("get_me"));
    for operation in document.operations.iter().filter(|o| o.access != Access::Public) {
        let answer = app.call(operation.method.clone(), nowhere(operation)).by(&person).await;
        assert_unauthenticated(answer, "token_expired", operation);
    }
    // The session goes on.
    let refresh = json!({"refresh_token": person.refresh_token});
    app.post("/v1/auth/refresh").json(refresh).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_reaches_the_access_token_within_a_second() {
    let app = App::start().await;
    let mut person = app.person("ada").await;
    let first = person.clone();
    app.login(&mut person).await;
    app.post("/v1/auth/logout").by(&first).await.expect(204);
    // And what a busy machine may add.
    let deadline = std::time::Duration::from_secs(1 + 2);
    poll_until(deadline, "the token is refused", async || {
        (app.get("/v1/users/me").by(&first).await.status == 401).then_some(())
    })
    .await;
    let refresh = json!({"refresh_token": first.refresh_token});
    app.post("/v1/auth/refresh").json(refresh).await.problem(401, "invalid_refresh_token");
    // The other session goes on.
    app.get("/v1/users/me").by(&person).await.expect(200);
}
