//! Accounts, logins and tokens.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use convene_application::auth::crypto::AccessTokens;
use convene_application::auth::{
    AuthDeps, AuthOptions, AuthService, Authenticator, GuessingLimits, RevocationFeed,
};
use convene_application::kernel::clock::Clock;
use convene_application::kernel::jobs::{Duty, Handler};
use convene_integrations::security::{
    Argon2Passwords, HashingPool, HkdfSuccessorSealer, JwtIssuer, Keyring, Parameters,
};
use tokio_util::sync::CancellationToken;

use super::{Platform, limits::Limits};
use crate::error::StartError;

/// How often to look for signing keys that another process has made.
const KEY_REFRESH: Duration = Duration::from_mins(1);

/// What auth offers to the other parts of the process.
pub(super) struct Auth {
    pub(super) service: AuthService,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) revocations: Arc<RevocationFeed>,
    keyring: Arc<Keyring>,
}

pub(super) async fn wire(platform: &Platform, limits: &Limits) -> Result<Auth, StartError> {
    let Platform { env, store, config, .. } = platform;
    let (store, upkeep) = (Arc::new(store.clone()), Arc::new(store.for_upkeep()));
    let keyring = Arc::new(Keyring::new(upkeep.clone(), Arc::clone(&platform.sealer)));
    keyring.refresh(env.now()).await.map_err(|error| StartError::Other {
        what: "the signing keys cannot be loaded: was secrets.envelope_key (CONVENE__SECRETS__ENVELOPE_KEY) changed?",
        source: Box::new(error),
    })?;
    let tokens: Arc<dyn AccessTokens> = Arc::new(JwtIssuer::new(
        Arc::clone(&keyring),
        config.auth.issuer.clone(),
        config.auth.audience.clone(),
    ));
    let revocations = Arc::new(RevocationFeed::new(upkeep, Arc::clone(&platform.wake)));
    let service = AuthService::new(AuthDeps {
        env: env.clone(),
        uow: store.clone(),
        reads: store.clone(),
        attempts: store,
        limiter: Arc::clone(&limits.guessing),
        passwords: Arc::new(passwords(platform)),
        access_tokens: Arc::clone(&tokens),
        successors: Arc::new(HkdfSuccessorSealer),
        sealer: Arc::clone(&platform.sealer),
        digester: Arc::clone(&platform.digester),
        revocations: Arc::clone(&revocations),
        options: AuthOptions {
            access_token_lifetime: config.auth.access_token_lifetime.0,
            refresh_token_lifetime: config.auth.refresh_token_lifetime.0,
            refresh_grace: config.auth.refresh_grace.0,
            mailed_token_lifetime: config.auth.mailed_token_lifetime.0,
            guessing: config.limits.enabled.then(GuessingLimits::default),
            ..AuthOptions::default()
        },
    });
    let authenticator =
        Authenticator::new(Arc::clone(&env.clock), tokens, Arc::clone(&revocations));
    Ok(Auth { service, authenticator: Arc::new(authenticator), revocations, keyring })
}

impl Auth {
    /// Keeps signing keys and revocations fresh until the shutdown.
    pub(super) async fn keep_fresh(&self, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        let keys = async {
            let mut tick = tokio::time::interval(KEY_REFRESH);
            tick.tick().await;
            loop {
                tick.tick().await;
                if let Err(error) = self.keyring.refresh(clock.now()).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the signing keys could not be read; those that are known stay in force"
                    );
                }
            }
        };
        tokio::select! {
            () = self.revocations.run(shutdown) => {}
            () = keys => {}
        }
    }

    pub(super) fn handlers(&self, platform: &Platform) -> Vec<Arc<dyn Handler>> {
        let jobs = Arc::new(platform.jobs.clone());
        convene_application::auth::jobs::handlers(
            &self.service,
            jobs.clone(),
            Arc::clone(&platform.mailer),
            jobs,
        )
    }
}

pub(super) fn duties() -> Vec<Duty> {
    convene_application::auth::jobs::duties()
}

fn passwords(platform: &Platform) -> Argon2Passwords {
    let auth = &platform.config.auth;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let running = if auth.hashing_threads == 0 { cores } else { auth.hashing_threads };
    let pool = HashingPool {
        running: NonZeroU32::new(u32::try_from(running).unwrap_or(u32::MAX))
            .unwrap_or(NonZeroU32::MIN),
        waiting: u32::try_from(auth.hashing_queue).unwrap_or(u32::MAX),
    };
    Argon2Passwords::new(Parameters::MINIMUM, pool, Arc::clone(&platform.env.random))
}
