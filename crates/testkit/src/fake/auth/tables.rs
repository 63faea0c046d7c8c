//! The tables, and the reads that need no unit of work.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convene_application::auth::TokenDigest;
use convene_application::auth::ports::{
    AccountKey, AdminGrant, AuthReads, Credential, LoginAttempts, MailedToken, PlatformAdmins,
    Recipient, Revocations, Revoked, Sweep, TokenFor,
};
use convene_application::kernel::store::StoreError;
use convene_domain::ids::{RegistrationId, SessionId, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use jiff::{SignedDuration, Timestamp};

use crate::fake::store::FakeStore;
use crate::fake::user::{HasUsers, Users};

/// The tables of auth, and of the people whom it provisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthTables {
    /// People.
    pub users: Users,
    /// Credentials by person, with the key of the address.
    pub credentials: BTreeMap<UserId, (Credential, AccountKey)>,
    /// Who administers the platform.
    pub platform_admins: BTreeMap<UserId, AdminGrant>,
    /// Registrations that wait.
    pub registrations: BTreeMap<RegistrationId, RegistrationRow>,
    /// Mailed tokens.
    pub mailed_tokens: BTreeMap<TokenDigest, MailedTokenRow>,
    /// Live sessions.
    pub sessions: BTreeMap<SessionId, SessionRow>,
    /// Refresh tokens, spent ones included.
    pub refresh_tokens: BTreeMap<TokenDigest, RefreshTokenRow>,
    /// Revoked sessions, in the order of revoking.
    pub revocations: Vec<SessionId>,
    /// Consecutive logins that did not succeed, with the time of the last.
    pub login_failures: BTreeMap<AccountKey, (u32, Timestamp)>,
}

/// A registration that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRow {
    /// The address as it was written.
    pub email: EmailAddress,
    /// How the person wants to be called.
    pub display_name: DisplayName,
    /// The hash of the password.
    pub password_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A mailed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailedTokenRow {
    /// What it is for.
    pub subject: TokenFor,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose it is.
    pub user: UserId,
    /// When the person logged in.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshTokenRow {
    /// Its session.
    pub session: SessionId,
    /// The token that it was exchanged for.
    pub predecessor: Option<TokenDigest>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was spent.
    pub spent_at: Option<Timestamp>,
    /// Its successor, until that is used.
    pub sealed_successor: Option<Vec<u8>>,
}

impl HasUsers for AuthTables {
    fn users(&self) -> &Users {
        &self.users
    }

    fn users_mut(&mut self) -> &mut Users {
        &mut self.users
    }
}

impl AuthTables {
    /// The credential of an address.
    pub fn credential_of(&self, address: &str) -> Option<&Credential> {
        self.credentials
            .values()
            .map(|(credential, _)| credential)
            .find(|credential| credential.address == address)
    }

    fn recipient(&self, subject: TokenFor) -> Option<Recipient> {
        match subject {
            TokenFor::Registration(id) => {
                let registration = self.registrations.get(&id)?;
                Some(Recipient::Registrant {
                    email: registration.email.clone(),
                    display_name: registration.display_name.clone(),
                    address_taken: self.credential_of(&registration.email.normalized()).is_some(),
                })
            }
            TokenFor::Account(user) => {
                let (credential, _) = self.credentials.get(&user)?;
                Some(Recipient::Holder { user, address: credential.address.clone() })
            }
        }
    }
}

#[async_trait]
impl AuthReads for FakeStore<AuthTables> {
    async fn credential(&self, address: &str) -> Result<Option<Credential>, StoreError> {
        Ok(self.tables().await?.credential_of(address).cloned())
    }

    async fn mailed_token(&self, token: &TokenDigest) -> Result<Option<MailedToken>, StoreError> {
        let tables = self.tables().await?;
        Ok(tables.mailed_tokens.get(token).and_then(|row| {
            Some(MailedToken {
                expires_at: row.expires_at,
                recipient: tables.recipient(row.subject)?,
            })
        }))
    }

    async fn pending_registrations(
        &self,
        address: &str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<RegistrationId>, StoreError> {
        let tables = self.tables().await?;
        let mut pending: Vec<_> = tables
            .registrations
            .iter()
            .filter(|(_, row)| row.email.normalized() == address && row.expires_at > now)
            .map(|(id, row)| (row.created_at, *id))
            .collect();
        pending.sort_by(|a, b| b.cmp(a));
        pending.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(pending.into_iter().map(|(_, id)| id).collect())
    }
}

#[async_trait]
impl PlatformAdmins for FakeStore<AuthTables> {
    async fn is_platform_admin(&self, user: UserId) -> Result<bool, StoreError> {
        Ok(self.tables().await?.platform_admins.contains_key(&user))
    }
}

#[async_trait]
impl LoginAttempts for FakeStore<AuthTables> {
    async fn count(&self, account: &AccountKey, now: Timestamp) -> Result<u32, StoreError> {
        let mut tables = self.tables().await?;
        let (failures, at) = tables.login_failures.entry(*account).or_insert((0, now));
        *failures += 1;
        *at = now;
        Ok(*failures)
    }

    async fn take_back(&self, account: &AccountKey) -> Result<(), StoreError> {
        if let Some((failures, _)) = self.tables().await?.login_failures.get_mut(account) {
            *failures = failures.saturating_sub(1);
        }
        Ok(())
    }
}

/// The fake revokes in no time at all, so it tells everything since ever.
#[async_trait]
impl Revocations for FakeStore<AuthTables> {
    async fn since(&self, _: Option<Timestamp>) -> Result<Revoked, StoreError> {
        let sessions = self.tables().await?.revocations.clone();
        Ok(Revoked { sessions, as_of: Timestamp::UNIX_EPOCH })
    }

    async fn is_revoked(&self, session: SessionId) -> Result<bool, StoreError> {
        Ok(self.tables().await?.revocations.contains(&session))
    }
}

#[async_trait]
impl Sweep for FakeStore<AuthTables> {
    async fn sweep(&self, now: Timestamp, limit: i64) -> Result<bool, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let mut tables = self.tables().await?;
        let tables = &mut *tables;
        let mut more = sweep(&mut tables.registrations, limit, |_, row| row.expires_at <= now);
        let registrations = &tables.registrations;
        tables.mailed_tokens.retain(|_, token| match token.subject {
            TokenFor::Registration(id) => registrations.contains_key(&id),
            TokenFor::Account(_) => true,
        });
        more |= sweep(&mut tables.mailed_tokens, limit, |_, row| row.expires_at <= now);
        more |= sweep(&mut tables.sessions, limit, |_, row| row.expires_at <= now);
        more |= sweep(&mut tables.refresh_tokens, limit, |_, row| row.expires_at <= now);
        let a_day_ago = now - SignedDuration::from_hours(24);
        let credentials = &tables.credentials;
        more |= sweep(&mut tables.login_failures, limit, |account, (_, at)| {
            *at <= a_day_ago && !credentials.values().any(|(_, known)| known == account)
        });
        Ok(more)
    }
}

/// Removes up to `limit` rows that are over; tells whether there were as many.
fn sweep<K: Ord + Clone, V>(
    rows: &mut BTreeMap<K, V>,
    limit: usize,
    is_over: impl Fn(&K, &V) -> bool,
) -> bool {
    let over: Vec<K> = rows
        .iter()
        .filter(|(key, row)| is_over(key, row))
        .map(|(key, _)| key.clone())
        .take(limit)
        .collect();
    for key in &over {
        rows.remove(key);
    }
    over.len() == limit
}
