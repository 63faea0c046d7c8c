//! What things may be called, and how times are said.

use convene_tests::app::App;
use convene_tests::client::{Person, text};
use convene_tests::problem::mistakes;
use serde_json::{Value, json};

fn unique(prefix: &str) -> String {
    format!("{prefix}{}", &uuid::Uuid::new_v4().simple().to_string()[..12])
}

#[tokio::test(flavor = "multi_thread")]
async fn communities_have_names() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let create = async |slug: &str, name: &str, description: Value| {
        let body =
            json!({"slug": slug, "name": name, "description": description, "visibility": "public"});
        app.post("/v1/communities").by(&olga).json(body).await
    };
    let longest = format!("{}{}", unique("a"), "z".repeat(27));
    assert_eq!(longest.len(), 40);
    for good in [&unique("9"), &longest, "a--b", "0-0", "zzz"] {
        let made = create(good, "n", json!(null)).await.expect(201).json();
        assert_eq!(made["slug"], *good);
        // Slugs and ids name the same.
        let by_slug = app.get(format!("/v1/communities/{good}")).await.expect(200);
        let by_id = app.get(format!("/v1/communities/{}", text(&made["id"]))).await.expect(200);
        assert_eq!((by_slug.etag(), &by_slug.body), (by_id.etag(), &by_id.body));
    }
    let like_ids = ["comm_01h455vb4pex5vsknk084sn02q", "01h455vb4pex5vsknk084sn02q"];
    let too_long = "a".repeat(41);
    for bad in [
        "",
        "ab",
        "-abc",
        "abc-",
        "Abc",
        "a_b",
        "a b",
        "zürich",
        "a.b",
        "a/b",
        "abc\n",
        &too_long,
        like_ids[0],
    ] {
        let problem = create(bad, "n", json!(null)).await.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, "/slug", "{bad}");
    }
    for (name, fits) in [
        ("n".repeat(100), true),
        ("ü".repeat(100), true),
        ("n".repeat(101), false),
        (String::new(), false),
        (" ".to_owned(), false),
        ("a\nb".to_owned(), false),
    ] {
        let answer = create(&unique("n"), &name, json!(null)).await;
        assert_eq!(answer.status == 201, fits, "{name:?}");
        if !fits {
            assert_eq!(mistakes(&answer.problem(422, "validation_failed"))[0].0, "/name");
        }
    }
    for (description, fits) in [
        ("🦀".repeat(10_000), true),
        ("a\r\n\tb".to_owned(), true),
        (String::new(), true),
        ("d".repeat(10_001), false),
        ("a\u{1}b".to_owned(), false),
    ] {
        let answer = create(&unique("d"), "n", json!(description)).await;
        assert_eq!(answer.status == 201, fits, "{} characters", description.chars().count());
    }
    create("zzz", "n", json!(null)).await.problem(409, "slug_taken");
}

/// A slug that was given up leads on, and is nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_slug_is_kept() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let community = app.community(&olga).await;
    let path = format!("/v1/communities/{community}");
    let old = text(&app.get(&path).await.expect(200).json()["slug"]);
    let new = unique("new-");
    let rename = |slug: &str| {
        let call = app.patch(&path).by(&olga).header("if-match", "*");
        call.json(json!({ "slug": slug }))
    };
    rename(&new).await.expect(200);
    for slug in [&old, &new] {
        assert_eq!(
            app.get(format!("/v1/communities/{slug}")).await.expect(200).json()["id"],
            community
        );
    }
    let body = json!({"slug": old, "name": "Taken", "visibility": "public"});
    app.post("/v1/communities").by(&ada).json(body.clone()).await.problem(409, "slug_taken");
    app.post("/v1/communities").by(&olga).json(body).await.problem(409, "slug_taken");
    rename(&old).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_have_names() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let patch = async |person: &Person, change: Value| {
        app.patch("/v1/users/me").by(person).header("if-match", "*").json(change).await
    };
    let handle = unique("h_");
    for good in [handle.as_str(), "abc", "a_1", "___", &"a".repeat(30)] {
        patch(&olga, json!({ "handle": good })).await.expect(200);
    }
    for bad in ["", "ab", "Abc", "a-b", "a b", "äbc", &"a".repeat(31)] {
        let problem =
            patch(&olga, json!({ "handle": bad })).await.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, "/handle", "{bad}");
    }
    patch(&olga, json!({ "handle": handle })).await.expect(200);
    patch(&ada, json!({ "handle": handle })).await.problem(409, "handle_taken");
    patch(&olga, json!({ "handle": null })).await.expect(200);
    patch(&ada, json!({ "handle": handle })).await.expect(200);
    for (name, fits) in [
        ("é".repeat(80), true),
        ("n".repeat(81), false),
        (String::new(), false),
        ("\u{7f}".to_owned(), false),
    ] {
        assert_eq!(
            patch(&olga, json!({ "display_name": name })).await.status == 200,
            fits,
            "{name}"
        );
    }
    for (zone, fits) in [
        ("Asia/Kathmandu", true),
        ("UTC", true),
        ("europe/berlin", true),
        ("Mars/Olympus", false),
        ("+02:00", false),
        ("", false),
        ("../etc/passwd", false),
    ] {
        let answer = patch(&olga, json!({ "time_zone": zone })).await;
        assert!([200, 422].contains(&answer.status));
        if zone != "europe/berlin" {
            assert_eq!(answer.status == 200, fits, "{zone}");
        }
    }
    for fixed in ["email", "id", "email_verified", "created_at", "role"] {
        patch(&olga, json!({ fixed: "x" })).await.problem(422, "validation_failed");
    }
}

/// Addresses are compared without case, and kept as they were written.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_no_case() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    for address in [ada.email.to_uppercase(), ada.email.to_lowercase()] {
        let login = json!({"email": address, "password": ada.password});
        app.post("/v1/auth/login").json(login).await.expect(200);
    }
    // Registering it again in capitals looks the same, and makes no second account.
    let again = json!({"email": ada.email.to_uppercase(), "password": "another long passphrase", "display_name": "Eve"});
    app.post("/v1/auth/register").json(again).await.expect(202);
    let login = json!({"email": ada.email, "password": "another long passphrase"});
    app.post("/v1/auth/login").json(login).await.problem(401, "invalid_credentials");
    for bad in [
        "",
        "ada",
        "@",
        "a@b",
        "ada@example",
        "a b@example.org",
        "ada@example.org\n",
        &format!("{}@example.org", "a".repeat(250)),
    ] {
        for (path, body) in [
            (
                "register",
                json!({"email": bad, "password": "a long passphrase indeed", "display_name": "Ada"}),
            ),
            ("login", json!({"email": bad, "password": "a long passphrase indeed"})),
            ("forgot-password", json!({ "email": bad })),
            ("resend-verification", json!({ "email": bad })),
        ] {
            let answer = app.post(format!("/v1/auth/{path}")).json(body).await;
            assert_eq!(mistakes(&answer.problem(422, "validation_failed"))[0].0, "/email", "{bad}");
        }
    }
}

/// Local times with their zone: shown with seconds, refused in the hour that clocks skip, ambiguous in the one they repeat.
#[tokio::test(flavor = "multi_thread")]
async fn events_have_local_times() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let path = format!("/v1/communities/{community}/events");
    let create = async |start: &str, end: &str, zone: &str, fold: Value| {
        let body = json!({"title": "t", "starts_at_local": start, "ends_at_local": end, "time_zone": zone, "fold": fold});
        app.post(&path).by(&olga).json(body).await
    };
    let made =
        create("2035-05-01T18:00", "2035-05-01T21:30:15", "Europe/Berlin", json!(null)).await;
    let made = made.expect(201).json();
    assert_eq!(
        (&made["starts_at_local"], &made["ends_at_local"]),
        (&json!("2035-05-01T18:00:00"), &json!("2035-05-01T21:30:15"))
    );
    assert_eq!(
        (&made["starts_at"], &made["ends_at"]),
        (&json!("2035-05-01T16:00:00Z"), &json!("2035-05-01T19:30:15Z"))
    );
    assert_eq!(made["fold"], Value::Null);

    // Berlin, 2035: 25 March 02:00 → 03:00, 28 October 03:00 → 02:00.
    let gap = create("2035-03-25T02:30", "2035-03-25T04:00", "Europe/Berlin", json!(null)).await;
    assert_eq!(mistakes(&gap.problem(422, "nonexistent_time"))[0].0, "/starts_at_local");
    for fold in ["earlier", "later"] {
        let gap =
            create("2035-03-25T01:00", "2035-03-25T02:00", "Europe/Berlin", json!(fold)).await;
        assert_eq!(mistakes(&gap.problem(422, "nonexistent_time"))[0].0, "/ends_at_local");
    }
    create("2035-03-25T03:00", "2035-03-25T04:00", "Europe/Berlin", json!(null)).await.expect(201);
    let overlap =
        create("2035-10-28T02:30", "2035-10-28T04:00", "Europe/Berlin", json!(null)).await;
    assert_eq!(mistakes(&overlap.problem(422, "ambiguous_time"))[0].0, "/starts_at_local");
    for (fold, start, end) in [
        ("earlier", "2035-10-28T00:30:00Z", "2035-10-28T00:59:59Z"),
        ("later", "2035-10-28T01:30:00Z", "2035-10-28T01:59:59Z"),
    ] {
        let made =
            create("2035-10-28T02:30", "2035-10-28T02:59:59", "Europe/Berlin", json!(fold)).await;
        let made = made.expect(201).json();
        assert_eq!(
            (&made["starts_at"], &made["ends_at"], &made["fold"]),
            (&json!(start), &json!(end), &json!(fold))
        );
    }
    // A choice where there is nothing to choose has no effect, and is echoed.
    let made =
        create("2035-05-01T18:00", "2035-05-01T21:00", "Europe/Berlin", json!("later")).await;
    assert_eq!(made.expect(201).json()["fold"], "later");
    create("2035-10-28T02:30", "2035-10-28T04:00", "Europe/Berlin", json!("both"))
        .await
        .problem(422, "validation_failed");

    for bad in [
        "2035-05-01",
        "2035-05-01 18:00",
        "2035-05-01T18",
        "2035-05-01T24:00",
        "2035-05-01T18:00Z",
        "2035-05-01T18:00:00.5",
        "2035-02-29T18:00",
        "2035-05-01T18:00+02:00",
        "2035-05-01T18:00:60",
        "",
        "+002035-05-01T18:00",
        "-0001-05-01T18:00",
    ] {
        let problem = create(bad, "2035-05-02T21:00", "Europe/Berlin", json!(null))
            .await
            .problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, "/starts_at_local", "{bad}");
    }
    for end in ["2035-05-01T18:00", "2035-05-01T17:59:59", "2034-05-01T21:00"] {
        create("2035-05-01T18:00", end, "Europe/Berlin", json!(null))
            .await
            .problem(422, "validation_failed");
    }
    for bad in
        ["Europe", "Berlin", "+02:00", "", "CEST", "Europe/Berlin/", "/etc/localtime", "local"]
    {
        let problem = create("2035-05-01T18:00", "2035-05-01T21:00", bad, json!(null))
            .await
            .problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, "/time_zone", "{bad}");
    }
    // The calendar's ends.
    for (start, end) in
        [("0001-01-01T00:00", "0001-01-02T00:00"), ("9999-12-30T00:00", "9999-12-31T23:59:59")]
    {
        for zone in ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"] {
            let status = create(start, end, zone, json!(null)).await.status;
            assert!([201, 422].contains(&status), "{start} {zone}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_zone_keeps_the_local_times() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let event = app.draft(&olga, &community, None).await;
    let patch = |change: Value| {
        let call = app.patch(format!("/v1/events/{event}")).by(&olga).header("if-match", "*");
        call.json(change)
    };
    let moved = patch(json!({"time_zone": "America/New_York"})).await.expect(200).json();
    assert_eq!(moved["starts_at_local"], "2035-05-01T18:00:00");
    assert_eq!(moved["starts_at"], "2035-05-01T22:00:00Z");
    patch(json!({"starts_at_local": "2035-11-04T01:30", "ends_at_local": "2035-11-04T03:00"}))
        .await
        .problem(422, "ambiguous_time");
    patch(json!({"starts_at_local": "2035-05-01T22:00"})).await.problem(422, "validation_failed");
    for (title, fits) in [
        ("t".repeat(200), true),
        ("t".repeat(201), false),
        (String::new(), false),
        ("a\tb".to_owned(), false),
    ] {
        assert_eq!(patch(json!({ "title": title })).await.status == 200, fits);
    }
    for null in ["title", "starts_at_local", "ends_at_local", "time_zone"] {
        let problem = patch(json!({ null: null })).await.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, format!("/{null}"));
    }
}
