//! Preparing a database, and what the two roles may do there.

use convene_infrastructure::postgres::migrate::{self, Roles};
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_testkit::database::TestDatabase;
use secrecy::SecretString;
use url::Url;

use super::{count, database, session};

async fn pending(url: &str) -> Vec<String> {
    let options = PoolOptions::new(url.to_owned().into(), 1);
    let pool = Pool::new(&options, tokio::runtime::Handle::current()).unwrap();
    migrate::pending(&pool).await.unwrap()
}

fn url(database: &TestDatabase) -> SecretString {
    database.admin_url().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_at_once_applies_everything_once() {
    let database = TestDatabase::empty().await;
    let missing = pending(&database.admin_url()).await;
    assert!(missing.len() >= 7, "{missing:?}");
    assert!(missing[0].ends_with("_platform"), "{missing:?}");
    assert_eq!(migrate::serving_role(&url(&database)).await.unwrap(), None, "nothing to serve yet");

    let url = url(&database);
    let (one, other) = futures::join!(migrate::migrate(&url), migrate::migrate(&url));
    let mut applied = [one.unwrap(), other.unwrap()];
    applied.sort_by_key(|report| report.applied.len());
    assert_eq!(applied[0].applied, Vec::<String>::new());
    assert_eq!(applied[1].applied, missing);
    assert_eq!(applied[1].roles, Roles::Two);
    assert!(pending(&database.app_url()).await.is_empty(), "the serving role can tell, too");
    assert_eq!(migrate::serving_role(&url).await.unwrap().as_deref(), Some(migrate::APP_ROLE));
}

/// In a runtime of one thread as well.
#[tokio::test]
async fn a_user_who_may_not_create_roles_owns_and_serves() {
    let database = TestDatabase::empty().await;
    let admin = session(&database.admin_url()).await;
    let user = format!("convene_test_user_{}", database.name().len());
    let name = database.name();
    let login = format!("{user}_{}", name.rsplit('_').next().unwrap());
    admin
        .batch_execute(&format!(
            "DROP ROLE IF EXISTS {login}; CREATE ROLE {login} LOGIN PASSWORD 'secret';
             ALTER DATABASE {name} OWNER TO {login}"
        ))
        .await
        .unwrap();
    let mut own = Url::parse(&database.admin_url()).unwrap();
    own.set_username(&login).unwrap();
    own.set_password(Some("secret")).unwrap();
    let own = SecretString::from(String::from(own));
    let report = migrate::migrate(&own).await.unwrap();
    let Roles::One { role, reason } = &report.roles else { panic!("{report}") };
    assert_eq!(role, &login);
    assert!(reason.starts_with(&login), "{reason}");
    assert!(!report.applied.is_empty());
    assert_eq!(migrate::serving_role(&own).await.unwrap(), None);
    let again = migrate::migrate(&own).await.unwrap();
    assert!(again.to_string().starts_with("The database is up to date."), "{again}");
    admin
        .batch_execute(&format!("REASSIGN OWNED BY {login} TO CURRENT_USER; DROP OWNED BY {login}"))
        .await
        .unwrap();
    admin.batch_execute(&format!("DROP ROLE {login}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_serving_role_changes_no_log_and_owns_nothing() {
    let database = database().await;
    let app = session(&database.app_url()).await;
    let refused = async |statement: &str| {
        let error = app.batch_execute(statement).await.expect_err(statement);
        let message =
            error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
        assert!(message.starts_with("permission denied"), "{statement}: {message}");
    };
    for log in [
        "domain_events",
        "domain_events_p0",
        "audit_log",
        "audit_chains",
        "log_head",
        "inbox_default",
    ] {
        refused(&format!("DELETE FROM {log}")).await;
        refused(&format!("TRUNCATE {log}")).await;
    }
    refused("UPDATE domain_events SET event_type = ''").await;
    refused("INSERT INTO domain_events SELECT * FROM domain_events").await;
    refused("INSERT INTO audit_log SELECT * FROM audit_log").await;
    refused("UPDATE audit_log SET actor = NULL").await;
    refused("UPDATE audit_chains SET number = 0").await;
    refused("UPDATE audit_personal SET client_ip = ''").await;
    refused("DELETE FROM outbox").await;
    refused("DELETE FROM audit_pending").await;
    app.batch_execute(
        "SELECT * FROM domain_events; SELECT * FROM audit_log; DELETE FROM audit_personal",
    )
    .await
    .unwrap();
    app.batch_execute(
        "UPDATE users SET display_name = ''; DELETE FROM jobs; SELECT convene_sequence(1)",
    )
    .await
    .unwrap();
    let owned = "pg_class WHERE relnamespace = 'public'::regnamespace AND relowner = 'convene_app'::regrole";
    assert_eq!(count(&app, owned).await, 0);
    let strangers = "pg_proc WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE')";
    assert_eq!(
        count(&app, strangers).await,
        0,
        "nobody else may call the functions that run as the owner"
    );
}
