//! The store of accounts.

mod accounts;
mod sessions;
mod upkeep;

pub use accounts::*;
pub use sessions::*;
pub use upkeep::*;

use std::sync::Arc;

use convene_application::auth::TokenDigest;
use convene_application::auth::ports::{
    AccountKey, AuthReads, AuthTx, Credential, LoginAttempts, NewMailedToken, NewRefreshToken,
    NewRegistration, NewSession, PlatformAdmins, Revocations, Sweep, TokenFor,
};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Uow;
use convene_application::user::offers::Directory;
use convene_domain::ids::{RegistrationId, SessionId, TypedId, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// The ports under test, over one empty store.
pub struct Ports {
    /// Units of work.
    pub uow: Uow<dyn AuthTx>,
    /// Reads.
    pub reads: Arc<dyn AuthReads>,
    /// Who administers the platform.
    pub admins: Arc<dyn PlatformAdmins>,
    /// Failed logins.
    pub attempts: Arc<dyn LoginAttempts>,
    /// What was revoked.
    pub revocations: Arc<dyn Revocations>,
    /// Upkeep.
    pub sweep: Arc<dyn Sweep>,
    /// The people whom auth provisions.
    pub directory: Arc<dyn Directory>,
}

/// Makes a test of each part of the contract. The argument is an expression that makes a future of [`Ports`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! auth_contract {
    ($ports:expr) => {
        $crate::auth_contract! { $ports;
            registrations_of_an_address_wait_side_by_side
            discarded_registrations_take_their_tokens_along
            pending_registrations_are_found_newest_first
            a_token_needs_its_subject
            an_address_has_one_credential
            a_person_is_provisioned_with_the_credential
            a_grant_makes_a_platform_admin
            a_token_tells_whom_it_is_mailed_to
            a_reset_is_locked_with_the_sessions
            what_is_not_committed_did_not_happen
            a_session_has_a_token_that_is_spent_once
            what_is_kept_for_a_repetition_is_erased
            a_session_is_prolonged
            sessions_that_end_are_revoked
            a_presented_token_is_locked
            an_account_is_locked_with_its_sessions
            attempts_are_counted_until_they_are_forgotten
            the_sweep_takes_what_is_over
            a_sweep_is_bounded
        }
    };
    ($ports:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (ports, _kept) = $ports.await;
            $crate::contract::auth::$part(&ports).await;
        }
    )+};
}

fn at(second: i64) -> Timestamp {
    Timestamp::constant(1_806_580_800, 0) + SignedDuration::from_secs(second)
}

fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(Uuid::from_u128(number))
}

fn digest(number: u8) -> TokenDigest {
    TokenDigest([number; 32])
}

fn key(number: u8) -> AccountKey {
    AccountKey([number; 32])
}

fn ada() -> UserId {
    id(1)
}

fn registration(number: u128, email: &str) -> NewRegistration {
    NewRegistration {
        id: id(number),
        email: EmailAddress::new(email).expect("it is an address"),
        display_name: DisplayName::new(format!("Ada {number}")).expect("it is a name"),
        password_hash: format!("hash {number}"),
        created_at: at(i64::try_from(number).expect("it is small")),
        expires_at: at(1_000),
    }
}

fn credential(user: UserId, address: &str) -> Credential {
    Credential { user, address: address.to_owned(), password_hash: "hash".to_owned() }
}

fn session(number: u128, user: UserId) -> NewSession {
    NewSession {
        id: id(number),
        user,
        created_at: at(i64::try_from(number).expect("it is small")),
        expires_at: at(1_000),
        client_ip: "2001:db8::1".parse().ok(),
        user_agent: Some("curl".to_owned()),
    }
}

fn refresh_token(number: u8, session: SessionId, predecessor: Option<u8>) -> NewRefreshToken {
    NewRefreshToken {
        digest: digest(number),
        session,
        predecessor: predecessor.map(digest),
        expires_at: at(1_000),
    }
}

impl Ports {
    /// One unit of work that only writes.
    async fn write(&self, stage: impl FnOnce(&mut dyn AuthTx)) -> Result<(), StoreError> {
        let mut tx = self.begin().await;
        stage(&mut *tx);
        tx.commit().await
    }

    async fn begin(&self) -> Box<dyn AuthTx> {
        self.uow.begin(Vec::new()).await.expect("a unit of work begins")
    }

    async fn register(&self, number: u128, email: &str, token: u8) {
        let new = registration(number, email);
        let subject = TokenFor::Registration(new.id);
        self.write(|tx| {
            tx.insert_registration(new);
            tx.insert_mailed_token(NewMailedToken {
                digest: digest(token),
                subject,
                expires_at: at(500),
            });
        })
        .await
        .expect("a registration is stored");
    }

    async fn open_account(&self, user: UserId, address: &str) {
        self.write(|tx| tx.insert_credential(credential(user, address), key(1)))
            .await
            .expect("a credential is stored");
    }

    async fn open_session(&self, number: u128, token: u8) -> SessionId {
        let new = session(number, ada());
        let session = new.id;
        self.write(|tx| {
            tx.insert_session(new);
            tx.insert_refresh_token(refresh_token(token, session, None));
        })
        .await
        .expect("a session is stored");
        session
    }

    async fn pending(&self, address: &str, limit: i64) -> Vec<RegistrationId> {
        self.reads
            .pending_registrations(address, at(100), limit)
            .await
            .expect("registrations are read")
    }
}
