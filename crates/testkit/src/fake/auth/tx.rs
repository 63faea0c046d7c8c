//! The transaction.

use async_trait::async_trait;
use convene_application::auth::TokenDigest;
use convene_application::auth::ports::{
    ADDRESS_TAKEN, Account, AccountKey, AdminGrant, AuthTx, Credential, NewMailedToken,
    NewRefreshToken, NewRegistration, NewSession, PendingRegistration, PendingReset,
    PresentedToken, TokenFor,
};
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_domain::auth::refresh::{RefreshToken, Spent};
use convene_domain::ids::{SessionId, UserId};
use jiff::Timestamp;

use super::tables::{AuthTables, MailedTokenRow, RefreshTokenRow, RegistrationRow, SessionRow};
use crate::fake::store::{FakeStore, FakeTx};

#[async_trait]
impl Begin<dyn AuthTx> for FakeStore<AuthTables> {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn AuthTx>, StoreError> {
        Ok(Box::new(self.unit(claims)?))
    }
}

#[async_trait]
impl AuthTx for FakeTx<AuthTables> {
    async fn lock_registration(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PendingRegistration>, StoreError> {
        let tables = self.read().await?;
        let Some(token) = tables.mailed_tokens.get(token) else { return Ok(None) };
        let TokenFor::Registration(id) = token.subject else { return Ok(None) };
        Ok(tables.registrations.get(&id).map(|row| PendingRegistration {
            id,
            email: row.email.clone(),
            display_name: row.display_name.clone(),
            password_hash: row.password_hash.clone(),
            token_expires_at: token.expires_at,
        }))
    }

    async fn lock_account(&mut self, user: UserId) -> Result<Option<Account>, StoreError> {
        Ok(account(self.read().await?, user))
    }

    async fn lock_reset(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PendingReset>, StoreError> {
        let tables = self.read().await?;
        let Some(token) = tables.mailed_tokens.get(token) else { return Ok(None) };
        let TokenFor::Account(user) = token.subject else { return Ok(None) };
        let token_expires_at = token.expires_at;
        Ok(account(tables, user).map(|account| PendingReset { account, token_expires_at }))
    }

    async fn lock_refresh_token(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PresentedToken>, StoreError> {
        let tables = self.read().await?;
        let Some(row) = tables.refresh_tokens.get(token) else { return Ok(None) };
        Ok(tables.sessions.get(&row.session).map(|session| PresentedToken {
            session: row.session,
            user: session.user,
            logged_in_at: session.created_at,
            session_expires_at: session.expires_at,
            token: RefreshToken {
                expires_at: row.expires_at,
                spent: row
                    .spent_at
                    .map(|at| Spent { at, successor_unused: row.sealed_successor.is_some() }),
            },
            sealed_successor: row.sealed_successor.clone(),
        }))
    }

    fn insert_registration(&mut self, registration: NewRegistration) {
        self.write(move |tables| {
            let row = RegistrationRow {
                email: registration.email,
                display_name: registration.display_name,
                password_hash: registration.password_hash,
                created_at: registration.created_at,
                expires_at: registration.expires_at,
            };
            tables.registrations.insert(registration.id, row);
            Ok(())
        });
    }

    fn discard_registrations(&mut self, address: &str) {
        let address = address.to_owned();
        self.write(move |tables| {
            tables.registrations.retain(|_, row| row.email.normalized() != address);
            let registrations = &tables.registrations;
            tables.mailed_tokens.retain(|_, token| match token.subject {
                TokenFor::Registration(id) => registrations.contains_key(&id),
                TokenFor::Account(_) => true,
            });
            Ok(())
        });
    }

    fn insert_mailed_token(&mut self, token: NewMailedToken) {
        self.write(move |tables| {
            let subject_is_there = match token.subject {
                TokenFor::Registration(id) => tables.registrations.contains_key(&id),
                TokenFor::Account(user) => tables.credentials.contains_key(&user),
            };
            if subject_is_there {
                let row = MailedTokenRow { subject: token.subject, expires_at: token.expires_at };
                tables.mailed_tokens.insert(token.digest, row);
            }
            Ok(())
        });
    }

    fn insert_credential(&mut self, credential: Credential, account: AccountKey) {
        self.write(move |tables| {
            if tables.credential_of(&credential.address).is_some() {
                return Err(StoreError::Unique { constraint: ADDRESS_TAKEN.to_owned() });
            }
            tables.credentials.insert(credential.user, (credential, account));
            Ok(())
        });
    }

    fn grant_platform_admin(&mut self, grant: AdminGrant) {
        self.write(move |tables| {
            tables.platform_admins.entry(grant.user).or_insert(grant);
            Ok(())
        });
    }

    fn set_password_hash(&mut self, user: UserId, password_hash: String) {
        self.write(move |tables| {
            if let Some((credential, _)) = tables.credentials.get_mut(&user) {
                credential.password_hash = password_hash;
            }
            Ok(())
        });
    }

    fn discard_reset_tokens(&mut self, user: UserId) {
        self.write(move |tables| {
            tables.mailed_tokens.retain(|_, token| token.subject != TokenFor::Account(user));
            Ok(())
        });
    }

    fn forget_attempts(&mut self, account: AccountKey) {
        self.write(move |tables| {
            tables.login_failures.remove(&account);
            Ok(())
        });
    }

    fn insert_session(&mut self, session: NewSession) {
        self.write(move |tables| {
            let row = SessionRow {
                user: session.user,
                created_at: session.created_at,
                last_used_at: session.created_at,
                expires_at: session.expires_at,
            };
            tables.sessions.insert(session.id, row);
            Ok(())
        });
    }

    fn prolong_session(&mut self, session: SessionId, used_at: Timestamp, expires_at: Timestamp) {
        self.write(move |tables| {
            if let Some(row) = tables.sessions.get_mut(&session) {
                row.last_used_at = used_at;
                row.expires_at = expires_at;
            }
            Ok(())
        });
    }

    fn end_sessions(&mut self, sessions: &[SessionId]) {
        let ended = sessions.to_vec();
        self.write(move |tables| {
            for session in ended {
                tables.sessions.remove(&session);
                if !tables.revocations.contains(&session) {
                    tables.revocations.push(session);
                }
            }
            Ok(())
        });
    }

    fn insert_refresh_token(&mut self, token: NewRefreshToken) {
        self.write(move |tables| {
            let row = RefreshTokenRow {
                session: token.session,
                predecessor: token.predecessor,
                expires_at: token.expires_at,
                spent_at: None,
                sealed_successor: None,
            };
            tables.refresh_tokens.insert(token.digest, row);
            Ok(())
        });
    }

    fn spend_refresh_token(
        &mut self,
        token: &TokenDigest,
        at: Timestamp,
        sealed_successor: Vec<u8>,
    ) {
        let token = *token;
        self.write(move |tables| {
            let Some(row) = tables.refresh_tokens.get_mut(&token) else { return Ok(()) };
            row.spent_at = Some(at);
            row.sealed_successor = Some(sealed_successor);
            let predecessor = row.predecessor;
            if let Some(row) = predecessor.and_then(|digest| tables.refresh_tokens.get_mut(&digest))
            {
                row.sealed_successor = None;
            }
            Ok(())
        });
    }
}

fn account(tables: &AuthTables, user: UserId) -> Option<Account> {
    let (credential, _) = tables.credentials.get(&user)?;
    let mut sessions: Vec<_> = tables
        .sessions
        .iter()
        .filter(|(_, session)| session.user == user)
        .map(|(id, session)| (session.created_at, *id))
        .collect();
    sessions.sort_by(|a, b| b.cmp(a));
    let sessions = sessions.into_iter().map(|(_, id)| id).collect();
    Some(Account { credential: credential.clone(), sessions })
}
