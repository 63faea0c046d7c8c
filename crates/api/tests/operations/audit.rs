//! `convene audit …`.

use convene_domain::ids::{CommunityId, TypedId as _, UserId};
use serde_json::json;

use crate::installation::Installation;

const COMMUNITY: &str = "018f0000-0000-7000-8000-000000000001";
const PERSON: &str = "018f0000-0000-7000-8000-000000000002";

fn person() -> String {
    UserId::from_uuid(PERSON.parse().unwrap()).to_string()
}

/// Three entries of a community that exists.
async fn audited() -> Installation {
    let convene = Installation::new().await;
    let person = person();
    convene
        .execute(&format!(
            "BEGIN;
             INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
             VALUES ('{COMMUNITY}', 'rust-berlin', 'Rust Berlin', 'private', 1, now(), now());
             INSERT INTO community_slugs (slug, community_id) VALUES ('rust-berlin', '{COMMUNITY}');
             COMMIT;
             INSERT INTO audit_pending (community_id, actor, action, object, changed, request_id, client_ip)
             SELECT '{COMMUNITY}', '{person}', 'event.update', 'event_' || n, '{{}}', 'req', '192.0.2.1'
             FROM generate_series(1, 3) AS n;
             SELECT convene_sequence(100)"
        ))
        .await;
    convene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_log_is_told_to_be() {
    let convene = Installation::new().await;
    let none = convene.text(&["audit", "verify"]);
    assert_eq!(none, "0 entries in 0 chain(s) follow from those before them.\n");

    let convene = audited().await;
    let whole = convene.text(&["audit", "verify"]);
    assert_eq!(whole, "3 entries in 1 chain(s) follow from those before them.\n");
    let one = convene.json(&["audit", "verify", "--community", "rust-berlin"]);
    let hash = convene.value("SELECT encode(hash, 'hex') FROM audit_chains").await;
    assert_eq!(
        one,
        json!({
            "ok": true, "chains": 1, "entries": 3, "broken": 0, "end": {"number": 3, "hash": hash}, "faults": [],
        })
    );
    let refusal = convene.refusal(&["audit", "verify", "--community", "nowhere"]);
    assert!(refusal.contains("there is no community nowhere"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bad_entry_is_named() {
    let convene = audited().await;
    convene.execute("UPDATE audit_log SET object = 'event_9' WHERE number = 2").await;
    let run = convene.run(&["audit", "verify"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let community = CommunityId::from_uuid(COMMUNITY.parse().unwrap()).to_string();
    let named = format!("{community}: entry 2 was changed\n");
    assert!(run.stdout.starts_with(&named), "{run:?}");
    assert!(run.stderr.contains("1 chain(s) of the audit log are broken"), "{run:?}");

    let run = convene.run(&["--json", "audit", "verify"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let told: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["ok"], &told["broken"]), (&json!(false), &json!(1)));
    let fault = json!({"community": community, "number": 2, "flaw": "changed"});
    assert_eq!(told["faults"], json!([fault]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_personal_is_erased_when_it_is_meant() {
    let convene = audited().await;
    assert_eq!(convene.run(&["audit", "erase", "--destructive"]).code, Some(2), "whose is said");
    let person = person();
    let refusal = convene.refusal(&["audit", "erase", "--user", &person]);
    assert!(refusal.contains("nothing was erased") && refusal.contains("3 entries"), "{refusal}");
    assert_eq!(convene.value("SELECT count(*) FROM audit_personal").await, "3");

    let text = convene.text(&["audit", "erase", "--user", &person, "--destructive"]);
    assert_eq!(text, "Erased what is personal of 3 entries.\n");
    assert_eq!(convene.value("SELECT count(*) FROM audit_personal").await, "0");
    let told = format!("system {person} {{\"before\": null, \"entries\": 3}}");
    assert_eq!(convene.audit("audit.erase").await, [told]);
    assert_eq!(convene.json(&["audit", "verify"])["ok"], true);
    let future = ["audit", "erase", "--before", "2101-01-01T00:00:00Z", "--destructive"];
    assert_eq!(convene.json(&future), json!({"entries": 0, "erased": true}));
}
