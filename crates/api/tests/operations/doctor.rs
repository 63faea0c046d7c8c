//! `convene doctor`: a sound installation, and each part of it broken once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use convene_testkit::broker::name_prefix;
use convene_testkit::services;
use serde_json::Value;

use crate::installation::Installation;

/// What the doctor tells of one check, as `state detail`. Exit codes agree with the verdict.
fn check(convene: &Installation, name: &str) -> String {
    let run = convene.run(&["doctor", "--json"]);
    let told: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    assert_eq!(told["ok"], run.code == Some(0), "{run:?}");
    assert_eq!(run.stderr.contains("check(s) failed"), run.code != Some(0), "{run:?}");
    let checks = told["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name}: {told}"));
    let state = found["state"].as_str().unwrap();
    let needs_advice = matches!(state, "warn" | "fail");
    assert_eq!(found["advice"].is_string(), needs_advice, "{found}");
    format!("{state} {}", found["detail"].as_str().unwrap())
}

/// A URL that leads to nobody.
fn nobody(scheme: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("{scheme}://{}", listener.local_addr().unwrap())
}

/// A mail server that greets and takes no mail.
fn mail_server() -> String {
    fn greet(mut stream: TcpStream) -> std::io::Result<()> {
        stream.write_all(b"220 test ESMTP\r\n")?;
        for line in BufReader::new(stream.try_clone()?).lines() {
            let reply: &[u8] =
                if line?.starts_with("QUIT") { b"221 bye\r\n" } else { b"250 test\r\n" };
            stream.write_all(reply)?;
        }
        Ok(())
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || greet(stream));
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_installation_passes() {
    let convene = Installation::new()
        .await
        .with("CONVENE__REDIS__URL", services::redis_url())
        .with("CONVENE__MAIL__SMTP_URL", &mail_server())
        .with("CONVENE__SECRETS__ENVELOPE_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    let text = convene.text(&["doctor"]);
    assert!(text.starts_with(&format!("Convene {}\n", convene_api::version())), "{text}");
    let told: Vec<(&str, &str)> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ok", "configuration"),
            ("ok", "secrets"),
            ("ok", "webhook_targets"),
            ("ok", "database"),
            ("ok", "migrations"),
            ("ok", "roles"),
            ("ok", "log_privileges"),
            ("ok", "clock"),
            ("ok", "outbox"),
            ("ok", "sinks"),
            ("ok", "due_jobs"),
            ("ok", "dead_jobs"),
            ("ok", "sealed_values"),
            ("ok", "redis"),
            ("-", "broker"),
            ("ok", "smtp"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_configured_is_no_failure() {
    let convene = Installation::new().await;
    for name in ["redis", "broker", "smtp"] {
        assert!(check(&convene, name).starts_with("not_configured not configured: "), "{name}");
    }
    assert!(check(&convene, "secrets").starts_with("warn the public development key"));
    let convene = convene.with("CONVENE__WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true");
    assert!(check(&convene, "webhook_targets").starts_with("warn private addresses too"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_reached_fails() {
    let convene = Installation::new().await;
    let redis = convene.with("CONVENE__REDIS__URL", &nobody("redis"));
    assert!(check(&redis, "redis").starts_with("fail Redis cannot be asked: "));
    let broker =
        redis.with("CONVENE__REDIS__URL", "").with("CONVENE__BROKER__URL", &nobody("amqp"));
    assert!(check(&broker, "broker").starts_with("fail the connection to the broker failed: "));
    let mail =
        broker.with("CONVENE__BROKER__URL", "").with("CONVENE__MAIL__SMTP_URL", &nobody("smtp"));
    assert!(check(&mail, "smtp").starts_with("fail the mail server cannot be used: "));
    let url = format!("{}/convene?user=postgres", nobody("postgres"));
    let database = mail.with("CONVENE__MAIL__SMTP_URL", "").with("CONVENE__DATABASE__URL", &url);
    assert!(check(&database, "database").starts_with("fail the database cannot be reached: "));
    assert!(
        check(&database, "redis").starts_with("not_configured"),
        "the rest is asked all the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_our_topology_fails_and_stays_without() {
    let convene = Installation::new()
        .await
        .with("CONVENE__BROKER__URL", services::broker_url())
        .with("CONVENE__BROKER__PREFIX", &name_prefix());
    for _ in 0..2 {
        let told = check(&convene, "broker_topology");
        assert!(told.starts_with("fail missing: exchange convene-test."), "{told}");
        assert!(told.contains("convene.webhook.fanout"), "{told}");
        assert!(check(&convene, "broker").starts_with("ok reachable"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_configuration_is_told_with_its_variable() {
    let convene = Installation::new().await.with("CONVENE_PROFILE", "production");
    let run = convene.run(&["doctor"]);
    assert_eq!(run.code, Some(78), "{run:?}");
    assert!(run.stdout.contains("fail  configuration     secrets.envelope_key"), "{run:?}");
    assert!(run.stdout.contains("set CONVENE__SECRETS__ENVELOPE_KEY"), "{run:?}");
    assert!(run.stderr.contains("mistake(s)"), "{run:?}");
    let run = convene.run(&["doctor", "--json"]);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["ok"], told["checks"][0]["state"].as_str()), (&false.into(), Some("fail")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_database_that_does_not_run_is_told_and_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let convene = Installation::new()
        .await
        .with("CONVENE_PROFILE", "embedded")
        .with("CONVENE__DATABASE__URL", "")
        .with("CONVENE__EMBEDDED__DATA_DIR", data.to_str().unwrap());
    let told = check(&convene, "database");
    assert!(told.starts_with("fail the private PostgreSQL in "), "{told}");
    assert!(convene.refusal(&["jobs", "list"]).contains("start `convene run`"));
    assert!(!data.exists(), "who only looks makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_migration_fails() {
    let convene = Installation::new().await;
    convene
        .execute(
            "DELETE FROM __diesel_schema_migrations
             WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)",
        )
        .await;
    let told = check(&convene, "migrations");
    assert!(told.starts_with("fail missing: 2"), "{told}");
    // Commands that need the schema refuse as serve does.
    let run = convene.run(&["jobs", "list"]);
    assert_eq!(run.code, Some(78), "{run:?}");
    assert!(run.stderr.contains("convene db migrate"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_owns_tables_or_may_change_the_logs_fails() {
    let convene = Installation::new().await;
    convene.execute("GRANT DELETE ON audit_log TO convene_app").await;
    let told = check(&convene, "log_privileges");
    assert_eq!(
        told,
        "fail convene_app has 1 right(s) too many on the logs, such as DELETE on audit_log"
    );
    let url = convene.database.owner_url();
    let convene = convene.with("CONVENE__DATABASE__URL", &url);
    let told = check(&convene, "roles");
    assert!(told.starts_with("fail convene_owner serves and owns "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lags_or_has_died_is_a_warning() {
    let convene = Installation::new().await;
    convene
        .execute(
            "INSERT INTO outbox (event_id, event_type, version, envelope, recorded_at)
             VALUES (gen_random_uuid(), 'user.registered', 1, '{}', now() - interval '5 minutes');
             SELECT convene_sequence(1);
             INSERT INTO outbox (event_id, event_type, version, envelope, recorded_at)
             VALUES (gen_random_uuid(), 'user.registered', 1, '{}', now() - interval '5 minutes');
             INSERT INTO sink_cursors (sink, position, epoch, holder, leased_until)
             VALUES ('bus', 0, 1, gen_random_uuid(), now());
             INSERT INTO jobs (kind, queue, payload, priority, run_at, max_attempts)
             VALUES ('a', 'default', 'null', 1, now() - interval '5 minutes', 1);
             INSERT INTO jobs_dead (job_id, kind, queue, payload, priority, attempt, max_attempts, last_error, created_at)
             VALUES (1, 'a', 'default', 'null', 1, 1, 1, 'x', now())",
        )
        .await;
    for (name, told) in [
        ("outbox", "warn 1 event(s) wait for their position, "),
        ("sinks", "warn bus is 1 event(s) behind position 1"),
        ("due_jobs", "warn 1 job(s) are due, "),
        ("dead_jobs", "warn 1 job(s) failed for good"),
    ] {
        let found = check(&convene, name);
        assert!(found.starts_with(told), "{found}");
    }
}
