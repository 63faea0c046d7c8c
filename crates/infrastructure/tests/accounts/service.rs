//! The use cases over Postgres: what they cost, and what many at once come to.

use std::sync::Arc;

use convene_application::auth::{
    AuthDeps, AuthOptions, AuthService, Login, Registration, RevocationFeed, Tokens,
};
use convene_application::kernel::context::{Principal, RequestContext};
use convene_application::kernel::error::Code;
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_application::kernel::wake::Wake;
use convene_application::user::UserService;
use convene_domain::auth::password::Password;
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use convene_domain::user::ProfileChange;
use convene_infrastructure::postgres::PgStore;
use convene_testkit::database::TestDatabase;
use convene_testkit::fake::auth::{FakeAccessTokens, FakePasswords, FakeSuccessorSealer};
use convene_testkit::fake::{FakeDigester, FakeLimiter, FakeMailer, FakeSealer, FixedClock, env};
use convene_testkit::wiretap::{Count, Wiretap};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::NoTls;

use crate::{database, store_at};

const PASSWORD: &str = "tremendous otter lanterns";

struct Accounts {
    auth: AuthService,
    users: UserService,
    store: Arc<PgStore>,
    mailer: Arc<FakeMailer>,
}

impl Accounts {
    fn over(store: Arc<PgStore>) -> Self {
        let clock = Arc::new(FixedClock::default());
        let auth = AuthService::new(AuthDeps {
            env: env(Arc::clone(&clock)),
            uow: store.clone(),
            reads: store.clone(),
            attempts: store.clone(),
            limiter: Arc::new(FakeLimiter::new(Arc::clone(&clock))),
            passwords: Arc::new(FakePasswords::default()),
            access_tokens: Arc::new(FakeAccessTokens::default()),
            successors: Arc::new(FakeSuccessorSealer),
            sealer: Arc::new(FakeSealer),
            digester: Arc::new(FakeDigester),
            revocations: Arc::new(RevocationFeed::new(store.clone(), Arc::new(Wake::default()))),
            options: AuthOptions { guessing: None, ..AuthOptions::default() },
        });
        let users = UserService::new(env(clock), store.clone(), store.clone());
        Self { auth, users, store, mailer: Arc::new(FakeMailer::default()) }
    }

    async fn register(&self, email: &str) {
        let registration = Registration {
            email: EmailAddress::new(email).unwrap(),
            password: Password::choose(PASSWORD, None).unwrap(),
            display_name: DisplayName::new("Ada").unwrap(),
        };
        self.auth.register(&context(), registration).await.unwrap();
    }

    async fn login(&self, email: &str) -> Tokens {
        let login = Login {
            email: EmailAddress::new(email).unwrap(),
            password: Password::present(PASSWORD).unwrap(),
        };
        self.auth.login(&context(), login).await.unwrap()
    }

    async fn refresh(&self, token: &SecretString) -> Tokens {
        self.auth.refresh(&context(), token).await.unwrap()
    }

    /// The token that the mail of the job that waits in the database holds.
    async fn mailed_token(&self, admin: &tokio_postgres::Client) -> SecretString {
        use convene_application::auth::jobs::handlers;
        use convene_application::kernel::jobs::LeasedJob;
        use convene_application::kernel::mail::Message;
        let row = admin
            .query_one(
                "DELETE FROM jobs WHERE kind = 'auth.mail_token' RETURNING payload::text",
                &[],
            )
            .await
            .unwrap();
        let handlers =
            handlers(&self.auth, self.store.clone(), self.mailer.clone(), self.store.clone());
        let handler = handlers.iter().find(|handler| handler.kind() == "auth.mail_token").unwrap();
        let lease = LeasedJob {
            id: 1,
            kind: handler.kind().to_owned(),
            queue: "mail".to_owned(),
            group: None,
            payload: serde_json::from_str(row.get(0)).unwrap(),
            attempt: 1,
            max_attempts: 1,
            epoch: 1,
            traceparent: None,
            correlation_id: None,
            control: convene_application::kernel::jobs::RunControl::default(),
        };
        handler.run(&lease).await;
        match self.mailer.take().remove(0).message {
            Message::VerifyEmail { token, .. } => token.into(),
            other => panic!("{other:?}"),
        }
    }
}

fn context() -> RequestContext {
    RequestContext::system("request-1")
}

async fn admin(database: &TestDatabase) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&database.admin_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn principal(admin: &tokio_postgres::Client) -> Principal {
    let row = admin.query_one("SELECT id::text, user_id::text FROM sessions", &[]).await.unwrap();
    let uuid = |column: usize| row.get::<_, &str>(column).parse().unwrap();
    Principal { session: SessionId::from_uuid(uuid(0)), user: UserId::from_uuid(uuid(1)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_parallel_exchanges_of_one_token_end_in_one_successor() {
    let (store, database) = database().await;
    let (accounts, admin) = (Arc::new(Accounts::over(store)), admin(&database).await);
    accounts.register("ada@example.org").await;
    let token = accounts.mailed_token(&admin).await;
    accounts.auth.verify_email(&context(), &token).await.unwrap();
    let first = accounts.login("ada@example.org").await.refresh_token;

    let exchanges = (0..50).map(|_| {
        let (accounts, first) = (Arc::clone(&accounts), first.clone());
        tokio::spawn(async move { accounts.refresh(&first).await.refresh_token })
    });
    let successors = futures::future::try_join_all(exchanges).await.unwrap();
    let one = successors[0].expose_secret();
    assert!(successors.iter().all(|successor| successor.expose_secret() == one));
    let live =
        admin.query_one("SELECT count(*) FROM refresh_tokens WHERE spent_at IS NULL", &[]).await;
    assert_eq!(live.unwrap().get::<_, i64>(0), 1);
    accounts.refresh(&successors[0]).await;
    let reused = accounts.auth.refresh(&context(), &first).await.unwrap_err();
    assert_eq!(reused.code, Code::InvalidRefreshToken);
    let sessions = admin.query_one("SELECT count(*) FROM sessions", &[]).await.unwrap();
    assert_eq!(sessions.get::<_, i64>(0), 0);
}

/// What each use case costs, in flights. Nothing is prepared anew once the statements are warm.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_use_cases_cost() {
    let (_, database) = database().await;
    let server =
        url::Url::parse(&database.app_url()).unwrap().socket_addrs(|| Some(5432)).unwrap()[0];
    let tap = Wiretap::start(server).await;
    let accounts = Accounts::over(store_at(&database, 1, Some(tap.address())));
    let admin = admin(&database).await;
    one_of_each(&accounts, &admin, &tap, 0).await;
    // On a machine that is busy a flight may be heard as two, never two as one: the least of some rounds is what it costs.
    let mut least = one_of_each(&accounts, &admin, &tap, 1).await;
    for round in 2..6 {
        for (least, count) in
            least.iter_mut().zip(one_of_each(&accounts, &admin, &tap, round).await)
        {
            assert_eq!(count.1.prepared, 0, "{}", count.0);
            least.1.flights = least.1.flights.min(count.1.flights);
        }
    }
    let least: Vec<_> = least.into_iter().map(|(what, count)| (what, count.flights)).collect();
    assert_eq!(
        least,
        [
            ("register", 1),
            ("verify", 2),
            // The credential, and two for the session.
            ("log in", 3),
            ("refresh", 2),
            ("refresh again", 2),
            ("read the profile", 1),
            ("change the profile", 2),
            ("log out", 1),
        ]
    );
}

/// Runs each use case once and tells what it cost.
async fn one_of_each(
    accounts: &Accounts,
    admin: &tokio_postgres::Client,
    tap: &Wiretap,
    round: usize,
) -> Vec<(&'static str, Count)> {
    let email = format!("person-{round}@example.org");
    let mut costs = Vec::new();
    let mut cost = |what| costs.push((what, tap.take()));
    let _ = tap.take();
    accounts.register(&email).await;
    cost("register");
    let token = accounts.mailed_token(admin).await;
    let _ = tap.take();
    accounts.auth.verify_email(&context(), &token).await.unwrap();
    cost("verify");
    let tokens = accounts.login(&email).await;
    cost("log in");
    accounts.refresh(&tokens.refresh_token).await;
    cost("refresh");
    accounts.refresh(&tokens.refresh_token).await;
    cost("refresh again");
    let principal = principal(admin).await;
    accounts.users.me(principal).await.unwrap();
    cost("read the profile");
    let display_name = Some(DisplayName::new(email).unwrap());
    let change = ProfileChange { display_name, ..ProfileChange::default() };
    let any = IfMatch { tags: Tags::Any, etag: |_| String::new() };
    accounts.users.update(&context(), principal, Ok(change), &any, None).await.unwrap();
    cost("change the profile");
    accounts.auth.logout(&context(), principal).await.unwrap();
    cost("log out");
    costs
}
