//! The service over fakes, and the steps that tests share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use convene_application::auth::authenticate::Authenticate as _;
use convene_application::auth::jobs::handlers;
use convene_application::auth::{
    AuthDeps, AuthOptions, AuthService, Authenticator, Login, Registration, Reset, RevocationFeed,
    Tokens,
};
use convene_application::kernel::context::{Principal, RequestContext};
use convene_application::kernel::error::{Code, Failure};
use convene_application::kernel::feed::Follow as _;
use convene_application::kernel::jobs::{Handler, LeasedJob, NewJob, Outcome};
use convene_application::kernel::mail::Message;
use convene_application::kernel::wake::Wake;
use convene_domain::auth::password::Password;
use convene_domain::text::{DisplayName, EmailAddress};
use convene_testkit::fake::auth::{
    AuthTables, FakeAccessTokens, FakePasswords, FakeSuccessorSealer,
};
use convene_testkit::fake::{
    FakeDigester, FakeLimiter, FakeMailer, FakeSealer, FakeStore, FixedClock, SentMail, env,
};
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};

pub(crate) const PASSWORD: &str = "tremendous otter lanterns";
pub(crate) const OTHER_PASSWORD: &str = "quiet harbour marzipan";

pub(crate) struct Scene {
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) store: FakeStore<AuthTables>,
    pub(crate) passwords: Arc<FakePasswords>,
    pub(crate) access_tokens: Arc<FakeAccessTokens>,
    pub(crate) mailer: Arc<FakeMailer>,
    pub(crate) feed: Arc<RevocationFeed>,
    pub(crate) service: AuthService,
    handlers: HashMap<&'static str, Arc<dyn Handler>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(AuthOptions::default())
    }

    /// Without limits on guessing.
    pub(crate) fn unlimited() -> Self {
        Self::with(AuthOptions { guessing: None, ..AuthOptions::default() })
    }

    pub(crate) fn with(options: AuthOptions) -> Self {
        let clock = Arc::new(FixedClock::default());
        let store = FakeStore::<AuthTables>::default();
        let passwords = Arc::new(FakePasswords::default());
        let access_tokens = Arc::new(FakeAccessTokens::default());
        let mailer = Arc::new(FakeMailer::default());
        let feed =
            Arc::new(RevocationFeed::new(Arc::new(store.clone()), Arc::new(Wake::default())));
        let service = AuthService::new(AuthDeps {
            env: env(Arc::clone(&clock)),
            uow: Arc::new(store.clone()),
            reads: Arc::new(store.clone()),
            attempts: Arc::new(store.clone()),
            limiter: Arc::new(FakeLimiter::new(Arc::clone(&clock))),
            passwords: Arc::clone(&passwords) as _,
            access_tokens: Arc::clone(&access_tokens) as _,
            successors: Arc::new(FakeSuccessorSealer),
            sealer: Arc::new(FakeSealer),
            digester: Arc::new(FakeDigester),
            revocations: Arc::clone(&feed),
            options,
        });
        let (directory, sweep) = (Arc::new(store.clone()), Arc::new(store.clone()));
        let handlers = handlers(&service, directory, Arc::clone(&mailer) as _, sweep)
            .into_iter()
            .map(|handler| (handler.kind(), handler))
            .collect();
        Self { clock, store, passwords, access_tokens, mailer, feed, service, handlers }
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    pub(crate) async fn register(&self, email: &str, password: &str) -> Result<(), Failure> {
        let registration = Registration {
            email: address(email),
            password: Password::choose(password, None).unwrap(),
            display_name: DisplayName::new("Ada").unwrap(),
        };
        self.service.register(&context("192.0.2.1"), registration).await
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<(), Failure> {
        self.service.verify_email(&context("192.0.2.1"), &SecretString::from(token)).await
    }

    /// Registers and verifies.
    pub(crate) async fn account(&self, email: &str, password: &str) {
        self.register(email, password).await.unwrap();
        let mails = self.run_jobs().await;
        self.verify(&token_of(mails.last().unwrap())).await.unwrap();
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Result<Tokens, Failure> {
        self.login_from("192.0.2.1", email, password).await
    }

    pub(crate) async fn login_from(
        &self,
        client: &str,
        email: &str,
        password: &str,
    ) -> Result<Tokens, Failure> {
        let login = Login { email: address(email), password: Password::present(password).unwrap() };
        self.service.login(&context(client), login).await
    }

    pub(crate) async fn refresh(&self, token: &SecretString) -> Result<Tokens, Failure> {
        self.service.refresh(&context("192.0.2.1"), token).await
    }

    pub(crate) async fn forgot(&self, email: &str) -> Result<(), Failure> {
        self.service.forgot_password(&context("192.0.2.1"), address(email)).await
    }

    /// Asks for a reset and returns the mailed token.
    pub(crate) async fn reset_token(&self, email: &str) -> String {
        self.forgot(email).await.unwrap();
        token_of(self.run_jobs().await.last().unwrap())
    }

    pub(crate) async fn reset(&self, token: &str, password: &str) -> Result<(), Failure> {
        let reset = Reset {
            token: SecretString::from(token),
            password: Password::choose(password, None).unwrap(),
        };
        self.service.reset_password(&context("192.0.2.1"), reset).await
    }

    /// Who an access token says is asking, in a process that has just read its feed.
    pub(crate) async fn authenticate(&self, tokens: &Tokens) -> Result<Principal, Failure> {
        self.feed.read().await.unwrap();
        self.authenticator().authenticate(tokens.access_token.expose_secret()).await
    }

    pub(crate) fn authenticator(&self) -> Authenticator {
        let clock = Arc::clone(&self.clock) as _;
        Authenticator::new(clock, Arc::clone(&self.access_tokens) as _, Arc::clone(&self.feed))
    }

    /// Runs all jobs and those that they cause, which must all succeed, and returns the mails that were sent.
    pub(crate) async fn run_jobs(&self) -> Vec<SentMail> {
        loop {
            let jobs = self.store.take_jobs();
            if jobs.is_empty() {
                return self.mailer.take();
            }
            for job in jobs {
                let outcome = self.run_job(&job).await;
                assert!(
                    matches!(outcome, Outcome::Done | Outcome::Settled),
                    "{job:?}: {outcome:?}"
                );
            }
        }
    }

    pub(crate) async fn run_job(&self, job: &NewJob) -> Outcome {
        let lease = LeasedJob {
            id: 1,
            kind: job.kind.to_owned(),
            queue: job.queue.to_owned(),
            group: None,
            payload: job.payload.clone(),
            attempt: 1,
            max_attempts: job.max_attempts,
            epoch: 1,
            traceparent: job.traceparent.clone(),
            correlation_id: job.correlation_id.clone(),
            control: convene_application::kernel::jobs::RunControl::default(),
        };
        self.handlers[job.kind].run(&lease).await
    }

    /// Has each call to the store fail in turn until the step gets through. Where it fails nothing of it may be left,
    /// but for the attempt that a login counts beforehand.
    pub(crate) async fn survives_each_failure<T>(
        &self,
        step: impl AsyncFn() -> Result<T, Failure>,
    ) -> T {
        for successes in 0..20 {
            let (before, ledger) = (self.kept().await, self.store.ledger());
            self.store.fail_after(successes);
            let outcome = step().await;
            let failed = !self.store.heal();
            match outcome {
                Ok(outcome) => {
                    assert!(!failed, "failure {successes} was swallowed");
                    return outcome;
                }
                Err(failure) => assert_eq!(failure.code, Code::Unavailable, "{failure}"),
            }
            assert_eq!(self.kept().await, before, "after failure {successes}");
            let left = self.store.ledger();
            assert_eq!(
                (left.events.len(), left.audit.len(), left.jobs.len()),
                (ledger.events.len(), ledger.audit.len(), ledger.jobs.len()),
            );
        }
        panic!("the step never gets through");
    }

    async fn kept(&self) -> AuthTables {
        AuthTables { login_failures: Default::default(), ..self.store.peek().await.clone() }
    }
}

pub(crate) fn address(text: &str) -> EmailAddress {
    EmailAddress::new(text).unwrap()
}

pub(crate) fn context(client: &str) -> RequestContext {
    let client_ip: IpAddr = client.parse().unwrap();
    RequestContext { client_ip: Some(client_ip), ..RequestContext::system("request-1") }
}

/// The token in a mail that has one.
pub(crate) fn token_of(mail: &SentMail) -> String {
    match &mail.message {
        Message::VerifyEmail { token, .. } | Message::ResetPassword { token, .. } => token.clone(),
        other => panic!("a mail without token: {other:?}"),
    }
}

pub(crate) fn code<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> Code {
    outcome.expect_err("it should have failed").code
}
