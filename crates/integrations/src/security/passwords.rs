//! Password hashes: argon2id (RFC 9106) on a pool that is bounded in every direction.

use std::num::NonZeroU32;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version, password_hash,
};
use async_trait::async_trait;
use convene_application::auth::crypto::{PasswordError, PasswordHasher, Verdict};
use convene_application::kernel::random::Random;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// The salt length that RFC 9106 recommends, in bytes.
const SALT_BYTES: usize = 16;

/// What one hash costs. Never below OWASP's minimum of 19 MiB, two iterations and one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

/// Parameters that are weaker than the minimum, or that argon2 cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("argon2id needs at least {min_memory} KiB of memory, {min_iterations} iterations and 1 lane", min_memory = Parameters::MINIMUM.memory_kib, min_iterations = Parameters::MINIMUM.iterations)]
pub struct InvalidParameters;

impl Parameters {
    /// OWASP's minimum: 19 MiB, two iterations, one lane; about 25 ms of a core.
    pub const MINIMUM: Self = Self { memory_kib: 19 * 1024, iterations: 2, lanes: 1 };

    /// Memory in KiB, passes over it, and lanes.
    ///
    /// # Errors
    /// [`InvalidParameters`] for any that is below the minimum.
    pub fn new(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Self, InvalidParameters> {
        let minimum = Self::MINIMUM;
        let parameters = Self { memory_kib, iterations, lanes };
        let strong = memory_kib >= minimum.memory_kib
            && iterations >= minimum.iterations
            && lanes >= minimum.lanes;
        if strong && parameters.argon2().is_ok() { Ok(parameters) } else { Err(InvalidParameters) }
    }

    fn argon2(self) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.iterations, self.lanes, None)
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::MINIMUM
    }
}

/// How many passwords are hashed at once, and how many may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashingPool {
    /// Hashed at once: no more than there are cores, and 19 MiB of memory each.
    pub running: NonZeroU32,
    /// Waiting at most: one more is refused.
    pub waiting: u32,
}

/// Hashes passwords with argon2id.
pub struct Argon2Passwords {
    argon2: Argon2<'static>,
    /// One for each that runs or waits.
    places: Arc<Semaphore>,
    /// One for each that runs.
    cores: Arc<Semaphore>,
    random: Arc<dyn Random>,
}

impl std::fmt::Debug for Argon2Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Argon2Passwords")
            .field("parameters", self.argon2.params())
            .finish_non_exhaustive()
    }
}

impl Argon2Passwords {
    /// A hasher with these parameters and bounds, and salts from this source.
    ///
    /// # Panics
    /// Never: [`Parameters`] are checked when they are made.
    #[must_use]
    pub fn new(parameters: Parameters, pool: HashingPool, random: Arc<dyn Random>) -> Self {
        let params = parameters.argon2().expect("the parameters were checked when they were made");
        let (running, waiting) = (pool.running.get() as usize, pool.waiting as usize);
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            places: Arc::new(Semaphore::new(running + waiting)),
            cores: Arc::new(Semaphore::new(running)),
            random,
        }
    }

    /// Runs work on a blocking thread once a core is free. The work keeps its place until it ends, even when the caller
    /// goes away: a client that disconnects must not make room for more hashes than there are cores.
    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, password_hash::Error> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            metrics::counter!("convene_auth_password_pool_full_total").increment(1);
            PasswordError::Busy
        })?;
        let core = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .map_err(|closed| PasswordError::Other(closed.into()))?;
        let argon2 = self.argon2.clone();
        tokio::task::spawn_blocking(move || {
            let _until_done = (place, core);
            work(&argon2)
        })
        .await
        .map_err(|panicked| PasswordError::Other(panicked.into()))?
        .map_err(|error| PasswordError::Other(error.to_string().into()))
    }
}

#[async_trait]
impl PasswordHasher for Argon2Passwords {
    async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt);
        self.on_pool(move |argon2| {
            let hash =
                argon2.hash_password_with_salt(password.expose_secret().as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        self.on_pool(move |argon2| {
            let password = password.expose_secret().as_bytes();
            let Some(hash) = hash else {
                argon2.hash_password_with_salt(password, &[0; SALT_BYTES])?;
                return Ok(Verdict { matches: false, outdated: false });
            };
            let hash = PasswordHash::new(&hash)?;
            match argon2.verify_password(password, &hash) {
                Ok(()) => Ok(Verdict { matches: true, outdated: is_outdated(argon2, &hash)? }),
                Err(password_hash::Error::PasswordInvalid) => {
                    Ok(Verdict { matches: false, outdated: false })
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// Whether a hash was made with another algorithm or weaker parameters than are current.
fn is_outdated(current: &Argon2<'_>, hash: &PasswordHash) -> Result<bool, password_hash::Error> {
    let (old, new) = (Params::try_from(hash)?, current.params());
    Ok(hash.algorithm.as_str() != Algorithm::Argon2id.as_str()
        || hash.version != Some(Version::V0x13.into())
        || old.m_cost() < new.m_cost()
        || old.t_cost() < new.t_cost()
        || old.p_cost() < new.p_cost())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::security::OsRandom;

    const PASSWORD: &str = "tremendous otter 42 lanterns";

    fn hasher(parameters: Parameters, running: u32, waiting: u32) -> Arc<Argon2Passwords> {
        let pool = HashingPool { running: NonZeroU32::new(running).unwrap(), waiting };
        Arc::new(Argon2Passwords::new(parameters, pool, Arc::new(OsRandom)))
    }

    fn minimum() -> Arc<Argon2Passwords> {
        hasher(Parameters::MINIMUM, 2, 8)
    }

    #[tokio::test]
    async fn the_right_password_matches_and_no_other() {
        let hasher = minimum();
        let hash = hasher.hash(PASSWORD.into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let right = hasher.verify(PASSWORD.into(), Some(hash.clone())).await.unwrap();
        assert_eq!(right, Verdict { matches: true, outdated: false });
        let wrong = hasher.verify("tremendous otter 42 lantern".into(), Some(hash)).await.unwrap();
        assert_eq!(wrong, Verdict { matches: false, outdated: false });
    }

    #[tokio::test]
    async fn the_same_password_never_has_the_same_hash() {
        let hasher = minimum();
        let first = hasher.hash(PASSWORD.into()).await.unwrap();
        assert_ne!(first, hasher.hash(PASSWORD.into()).await.unwrap());
    }

    #[tokio::test]
    async fn agrees_with_the_reference_implementation() {
        // Made by argon2-cffi, which wraps the reference implementation in C.
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                    QgB2/dDyQ+ceOfF1Bl+7fRUoIfVlg/SA/XXvfcBlU68";
        let verdict = minimum().verify(PASSWORD.into(), Some(hash.into())).await.unwrap();
        assert_eq!(verdict, Verdict { matches: true, outdated: false });
    }

    #[tokio::test]
    async fn raised_parameters_make_old_hashes_outdated_once_they_match() {
        let old = minimum().hash(PASSWORD.into()).await.unwrap();
        for raised in [
            Parameters::new(20 * 1024, 2, 1),
            Parameters::new(19 * 1024, 3, 1),
            Parameters::new(19 * 1024, 2, 2),
        ] {
            let raised = hasher(raised.unwrap(), 1, 1);
            let verdict = raised.verify(PASSWORD.into(), Some(old.clone())).await.unwrap();
            assert_eq!(verdict, Verdict { matches: true, outdated: true });
            let wrong = raised.verify("another".into(), Some(old.clone())).await.unwrap();
            assert_eq!(wrong, Verdict { matches: false, outdated: false });
            let new = raised.hash(PASSWORD.into()).await.unwrap();
            let verdict = minimum().verify(PASSWORD.into(), Some(new)).await.unwrap();
            assert_eq!(verdict, Verdict { matches: true, outdated: false }, "stronger is fine");
        }
    }

    #[tokio::test]
    async fn without_an_account_nothing_matches_and_it_takes_as_long() {
        let hasher = minimum();
        let hash = hasher.hash(PASSWORD.into()).await.unwrap();
        let time = async |hash: Option<String>| {
            let started = std::time::Instant::now();
            hasher.verify("not the password".into(), hash).await.unwrap();
            started.elapsed()
        };
        // The fastest of several is what the work takes on a machine that others use too. Without the work it would take a
        // thousandth, so the bounds can be wide.
        let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
        for _ in 0..16 {
            known = known.min(time(Some(hash.clone())).await);
            unknown = unknown.min(time(None).await);
        }
        let verdict = hasher.verify(PASSWORD.into(), None).await.unwrap();
        assert_eq!(verdict, Verdict { matches: false, outdated: false });
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        assert!((0.2..5.0).contains(&ratio), "known {known:?}, unknown {unknown:?}");
    }

    #[tokio::test]
    async fn a_stored_text_that_is_no_hash_is_a_defect_and_not_a_wrong_password() {
        for bad in ["", "plain text", "$argon2id$v=19$m=19456,t=2,p=1$", "$scrypt$x$y$z"] {
            let result = minimum().verify(PASSWORD.into(), Some(bad.into())).await;
            assert!(
                matches!(result, Err(PasswordError::Other(_)) | Ok(Verdict { matches: false, .. })),
                "{bad}: {result:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_full_pool_refuses_at_once_and_recovers() {
        let hasher = hasher(Parameters::MINIMUM, 1, 1);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let hasher = Arc::clone(&hasher);
                tokio::spawn(async move { hasher.hash(PASSWORD.into()).await })
            })
            .collect();
        let mut refused = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => {}
                Err(PasswordError::Busy) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(refused, 6, "one runs, one waits");
        assert!(hasher.hash(PASSWORD.into()).await.is_ok(), "the places are free again");
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_keeps_the_core_until_the_hash_is_done() {
        let hasher = hasher(Parameters::MINIMUM, 1, 0);
        {
            let mut hashing = Box::pin(hasher.hash(PASSWORD.into()));
            let polled = futures::poll!(&mut hashing);
            assert!(polled.is_pending(), "the hash is on its way");
        }
        let while_it_runs = hasher.hash(PASSWORD.into()).await;
        assert!(matches!(while_it_runs, Err(PasswordError::Busy)));
        let free = tokio::time::timeout(Duration::from_secs(10), async {
            while hasher.places.available_permits() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        free.await.expect("the hash ends");
    }

    #[test]
    fn parameters_below_the_minimum_are_refused() {
        for (memory, iterations, lanes) in
            [(19 * 1024 - 1, 2, 1), (19 * 1024, 1, 1), (19 * 1024, 2, 0)]
        {
            assert_eq!(Parameters::new(memory, iterations, lanes), Err(InvalidParameters));
        }
        assert_eq!(Parameters::new(19 * 1024, 2, 1), Ok(Parameters::default()));
    }
}
