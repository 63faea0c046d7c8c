//! The chains of the audit log: found whole whatever goes on, and broken by the smallest change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convene_application::kernel::context::RequestContext;
use convene_application::kernel::events::Sequencer as _;
use convene_application::kernel::operate::audit::{
    AuditEraser, AuditVerifier, ChainReport, Erasure, Fault, Flaw,
};
use convene_domain::ids::{CommunityId, TypedId as _, UserId};
use convene_infrastructure::postgres::PgStore;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{count, database, session, store};

const TABLES: [&str; 3] = ["audit_log", "audit_personal", "audit_chains"];
/// The entry that is tampered with, and the last one.
const ENTRY: i64 = 3;
const LAST: i64 = 5;

fn community() -> CommunityId {
    CommunityId::from_uuid(Uuid::from_u128(1))
}

fn person(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

/// So many entries of a community, by two people in turn, and as many outside of communities.
async fn audited(admin: &Client, store: &PgStore, entries: i64) {
    admin
        .batch_execute(&format!(
            "INSERT INTO audit_pending (community_id, actor, session_id, action, object, changed, request_id, client_ip,
                                        user_agent)
             SELECT place, CASE n % 2 WHEN 0 THEN '{}' ELSE '{}' END, gen_random_uuid(), 'event.update', 'event_' || n,
                    '{{\"a\": 1}}', 'req-' || n, '192.0.2.1', 'curl/8.5.0'
             FROM generate_series(1, {entries}) AS n, unnest(ARRAY['{}'::uuid, NULL]) AS place",
            person(2),
            person(1),
            community().uuid(),
        ))
        .await
        .unwrap();
    while count(admin, "audit_pending").await > 0 {
        store.sequence(1_000).await.unwrap();
    }
}

async fn verified(store: &PgStore) -> Vec<ChainReport> {
    let mut reports = Vec::new();
    let verifier = AuditVerifier::new(Arc::new(store.clone()));
    verifier.verify(None, |report| reports.push(report)).await.unwrap();
    reports
}

async fn faults(store: &PgStore) -> Vec<(Option<CommunityId>, Fault)> {
    let reports = verified(store).await;
    reports.into_iter().filter_map(|report| Some((report.community, report.fault?))).collect()
}

/// The expression for a column's value with one bit, or one character, changed.
fn changed(column: &str, data_type: &str) -> String {
    match (column, data_type) {
        ("outcome", _) => "'refused'".to_owned(),
        (_, "uuid") => format!("('f' || substr({column}::text, 2))::uuid"),
        (_, "bigint") => format!("{column} + 1000"),
        (_, "timestamp with time zone") => format!("{column} + interval '1 microsecond'"),
        (_, "text") => format!("chr(ascii({column}) # 1) || substr({column}, 2)"),
        (_, "jsonb") => format!("jsonb_set({column}, '{{a}}', '2')"),
        (_, "bytea") => format!("set_byte({column}, 0, get_byte({column}, 0) # 1)"),
        other => panic!("no change is known for {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_in_any_column_is_found() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store(&database);
    audited(&admin, &store, LAST).await;
    assert_eq!(faults(&store).await, []);
    for table in TABLES {
        admin.batch_execute(&format!("CREATE TABLE kept_{table} AS TABLE {table}")).await.unwrap();
    }
    let columns = admin
        .query(
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = ANY ($1) ORDER BY 1, ordinal_position",
            &[&TABLES.map(str::to_owned).to_vec()],
        )
        .await
        .unwrap();
    assert_eq!(columns.len(), 12 + 5 + 3);
    for row in &columns {
        let (table, column, data_type): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let at = if table == "audit_chains" { LAST } else { ENTRY };
        let tamper = format!(
            "UPDATE {table} SET {column} = {} WHERE chain_id = '{}' AND number = {at}",
            changed(column, data_type),
            community().uuid()
        );
        assert_eq!(admin.execute(&tamper, &[]).await.unwrap(), 1, "{tamper}");
        let found = faults(&store).await;
        assert!(!found.is_empty(), "{table}.{column} can be changed unnoticed");
        if table == "audit_log" {
            let here = found.iter().find(|(whose, _)| *whose == Some(community()));
            let number = here.map(|(_, fault)| fault.number);
            assert_eq!(number, Some(ENTRY), "{column}: the first bad entry is named");
        }
        admin
            .batch_execute(&format!(
                "BEGIN; DELETE FROM {table}; INSERT INTO {table} TABLE kept_{table}; COMMIT"
            ))
            .await
            .unwrap();
        assert_eq!(faults(&store).await, [], "{table}.{column} is what it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_gone_is_missed() {
    for (gone, flaw) in [(1, Flaw::Missing), (ENTRY, Flaw::Missing), (LAST, Flaw::Missing)] {
        let database = database().await;
        let admin = session(&database.admin_url()).await;
        let store = store(&database);
        audited(&admin, &store, LAST).await;
        let here = format!("chain_id = '{}' AND number = {gone}", community().uuid());
        admin.execute(&format!("DELETE FROM audit_log WHERE {here}"), &[]).await.unwrap();
        admin.execute(&format!("DELETE FROM audit_personal WHERE {here}"), &[]).await.unwrap();
        let found = faults(&store).await;
        assert_eq!(found, [(Some(community()), Fault { number: gone, flaw })]);
    }
}

/// More entries than one statement looks at, and a fault behind the first such run.
#[tokio::test(flavor = "multi_thread")]
async fn long_chains_are_walked_in_runs() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store(&database);
    audited(&admin, &store, 2_000).await;
    let entries: Vec<u64> = verified(&store).await.iter().map(|report| report.entries).collect();
    assert_eq!(entries, [2_000, 2_000]);
    audited(&admin, &store, 1).await;
    assert_eq!(faults(&store).await, []);
    let tamper = format!(
        "UPDATE audit_log SET actor = NULL WHERE chain_id = '{}' AND number = 1500",
        community().uuid()
    );
    admin.batch_execute(&tamper).await.unwrap();
    let fault = Fault { number: 1_500, flaw: Flaw::Changed };
    assert_eq!(faults(&store).await, [(Some(community()), fault)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_grows_meanwhile_is_whole() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store(&database);
    let growing = AtomicBool::new(true);
    let grow = async {
        for _ in 0..40 {
            audited(&admin, &store, 3).await;
        }
        growing.store(false, Ordering::SeqCst);
    };
    let look = async {
        while growing.load(Ordering::SeqCst) {
            assert_eq!(faults(&store).await, []);
        }
    };
    tokio::join!(grow, look);
    let entries: Vec<u64> = verified(&store).await.iter().map(|report| report.entries).collect();
    assert_eq!(entries, [120, 120]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_personal_can_be_erased_and_the_chain_stays_whole() {
    let database = database().await;
    let admin = session(&database.admin_url()).await;
    let store = store(&database);
    audited(&admin, &store, 6).await;
    let eraser = AuditEraser::new(Arc::new(store.clone()));
    let context = RequestContext::system("erase");
    let of = |user, before| Erasure { user, before };

    let first = of(Some(person(1)), None);
    assert_eq!(eraser.erase(&context, &first, false).await.unwrap(), 6);
    assert_eq!(count(&admin, "audit_personal").await, 12, "it was counted alone");
    assert_eq!(eraser.erase(&context, &first, true).await.unwrap(), 6);
    assert_eq!(count(&admin, "audit_personal").await, 6);
    assert_eq!(count(&admin, "audit_pending WHERE action = 'audit.erase'").await, 1);
    assert_eq!(faults(&store).await, []);

    let past = of(None, Some("2001-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(eraser.erase(&context, &past, true).await.unwrap(), 0);
    let future = of(None, Some("2101-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(eraser.erase(&context, &future, true).await.unwrap(), 6);
    assert_eq!(count(&admin, "audit_personal").await, 0);
    store.sequence(100).await.unwrap();
    assert_eq!(faults(&store).await, []);
    assert_eq!(
        count(&admin, "audit_log WHERE action = 'audit.erase' AND actor = 'system'").await,
        2
    );
}
