//! The transaction of accounts. Each lock is a statement of its own in front of those that read behind it.

use async_trait::async_trait;
use convene_application::auth::TokenDigest;
use convene_application::auth::ports::{
    Account, AccountKey, AdminGrant, AuthTx, Credential, NewMailedToken, NewRefreshToken,
    NewRegistration, NewSession, PendingRegistration, PendingReset, PresentedToken, TokenFor,
};
use convene_application::kernel::store::StoreError;
use convene_domain::auth::refresh::{RefreshToken, Spent};
use convene_domain::ids::{RegistrationId, SessionId, TypedId, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{CredentialRow, IdRow};
use crate::postgres::sql::{flight, sql, stored};
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct RegistrationRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    email: String,
    #[diesel(sql_type = Text)]
    display_name: String,
    #[diesel(sql_type = Text)]
    password_hash: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    token_expires_at: Timestamp,
}

#[derive(QueryableByName)]
struct ResetRow {
    #[diesel(embed)]
    credential: CredentialRow,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    token_expires_at: Timestamp,
}

#[derive(QueryableByName)]
struct PresentedRow {
    #[diesel(sql_type = SqlUuid)]
    session_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    logged_in_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    session_expires_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    expires_at: Timestamp,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    spent_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<Binary>)]
    sealed_successor: Option<Vec<u8>>,
}

#[async_trait]
impl AuthTx for PgTx {
    async fn lock_registration(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PendingRegistration>, StoreError> {
        let digest = token.0;
        let (_, row) = self
            .flight(|connection| async move {
                flight!(
                    sql("SELECT FROM registrations
                         WHERE address = (SELECT r.address FROM email_tokens t
                                          JOIN registrations r ON r.id = t.registration_id WHERE t.digest = $1)
                         ORDER BY id FOR UPDATE")
                    .bind(digest)
                    .run(connection),
                    sql("SELECT r.id, r.email, r.display_name, r.password_hash, t.expires_at AS token_expires_at
                         FROM email_tokens t JOIN registrations r ON r.id = t.registration_id WHERE t.digest = $1")
                    .bind(digest)
                    .row::<RegistrationRow>(connection),
                )
            })
            .await?;
        row.map(|row| {
            Ok(PendingRegistration {
                id: RegistrationId::from_uuid(row.id),
                email: stored("registrations.email", EmailAddress::new(row.email))?,
                display_name: stored(
                    "registrations.display_name",
                    DisplayName::new(row.display_name),
                )?,
                password_hash: row.password_hash,
                token_expires_at: row.token_expires_at,
            })
        })
        .transpose()
    }

    async fn lock_account(&mut self, user: UserId) -> Result<Option<Account>, StoreError> {
        let user = user.uuid();
        let (_, credential, sessions) = self
            .flight(|connection| async move {
                flight!(
                    sql("SELECT FROM credentials WHERE user_id = $1 FOR NO KEY UPDATE").bind(user).run(connection),
                    sql("SELECT user_id, address, password_hash FROM credentials WHERE user_id = $1")
                        .bind(user)
                        .row::<CredentialRow>(connection),
                    sql("SELECT id FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id DESC")
                        .bind(user)
                        .rows::<IdRow>(connection),
                )
            })
            .await?;
        Ok(credential.map(|credential| account(credential, sessions)))
    }

    async fn lock_reset(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PendingReset>, StoreError> {
        let digest = token.0;
        let (_, reset, sessions) = self
            .flight(|connection| async move {
                flight!(
                    sql("SELECT FROM credentials
                         WHERE user_id = (SELECT user_id FROM email_tokens WHERE digest = $1) FOR NO KEY UPDATE")
                    .bind(digest)
                    .run(connection),
                    sql("SELECT c.user_id, c.address, c.password_hash, t.expires_at AS token_expires_at
                         FROM email_tokens t JOIN credentials c ON c.user_id = t.user_id WHERE t.digest = $1")
                    .bind(digest)
                    .row::<ResetRow>(connection),
                    sql("SELECT id FROM sessions
                         WHERE user_id = (SELECT user_id FROM email_tokens WHERE digest = $1)
                         ORDER BY created_at DESC, id DESC")
                    .bind(digest)
                    .rows::<IdRow>(connection),
                )
            })
            .await?;
        Ok(reset.map(|reset| PendingReset {
            account: account(reset.credential, sessions),
            token_expires_at: reset.token_expires_at,
        }))
    }

    async fn lock_refresh_token(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PresentedToken>, StoreError> {
        let digest = token.0;
        let (_, row) = self
            .flight(|connection| async move {
                flight!(
                    sql("SELECT FROM sessions
                         WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = $1) FOR NO KEY UPDATE")
                    .bind(digest)
                    .run(connection),
                    sql("SELECT s.id AS session_id, s.user_id, s.created_at AS logged_in_at,
                                s.expires_at AS session_expires_at, t.expires_at, t.spent_at, t.sealed_successor
                         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.digest = $1")
                    .bind(digest)
                    .row::<PresentedRow>(connection),
                )
            })
            .await?;
        Ok(row.map(PresentedToken::from))
    }

    fn insert_registration(&mut self, registration: NewRegistration) {
        let address = registration.email.normalized();
        self.write(
            sql("INSERT INTO registrations
                     (id, email, address, display_name, password_hash, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(registration.id.uuid())
            .bind(String::from(registration.email))
            .bind(address)
            .bind(String::from(registration.display_name))
            .bind(registration.password_hash)
            .bind(registration.created_at)
            .bind(registration.expires_at),
        );
    }

    fn discard_registrations(&mut self, address: &str) {
        self.write(sql("DELETE FROM registrations WHERE address = $1").bind(address.to_owned()));
    }

    fn insert_mailed_token(&mut self, token: NewMailedToken) {
        // The lock keeps the subject there until the token refers to it.
        let (insert, subject) = match token.subject {
            TokenFor::Registration(registration) => (
                sql("INSERT INTO email_tokens (digest, registration_id, expires_at)
                     SELECT $1, id, $3 FROM registrations WHERE id = $2 FOR KEY SHARE"),
                registration.uuid(),
            ),
            TokenFor::Account(user) => (
                sql("INSERT INTO email_tokens (digest, user_id, expires_at)
                     SELECT $1, user_id, $3 FROM credentials WHERE user_id = $2 FOR KEY SHARE"),
                user.uuid(),
            ),
        };
        self.write(insert.bind(token.digest.0).bind(subject).bind(token.expires_at));
    }

    fn insert_credential(&mut self, credential: Credential, account: AccountKey) {
        self.write(
            sql("INSERT INTO credentials (user_id, address, account, password_hash) VALUES ($1, $2, $3, $4)")
                .bind(credential.user.uuid())
                .bind(credential.address)
                .bind(account.0)
                .bind(credential.password_hash),
        );
    }

    fn grant_platform_admin(&mut self, grant: AdminGrant) {
        self.write(
            sql("INSERT INTO platform_admins (user_id, granted_by, reason, at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (user_id) DO NOTHING")
            .bind(grant.user.uuid())
            .bind(grant.granted_by.map(TypedId::uuid))
            .bind(grant.reason)
            .bind(grant.at),
        );
    }

    fn set_password_hash(&mut self, user: UserId, password_hash: String) {
        self.write(
            sql("UPDATE credentials SET password_hash = $2 WHERE user_id = $1")
                .bind(user.uuid())
                .bind(password_hash),
        );
    }

    fn discard_reset_tokens(&mut self, user: UserId) {
        self.write(sql("DELETE FROM email_tokens WHERE user_id = $1").bind(user.uuid()));
    }

    fn forget_attempts(&mut self, account: AccountKey) {
        self.write(sql("DELETE FROM login_failures WHERE account = $1").bind(account.0));
    }

    fn insert_session(&mut self, session: NewSession) {
        self.write(
            sql("INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at, client_ip, user_agent)
                 VALUES ($1, $2, $3, $3, $4, $5, $6)")
            .bind(session.id.uuid())
            .bind(session.user.uuid())
            .bind(session.created_at)
            .bind(session.expires_at)
            .bind(session.client_ip.map(|address| address.to_string()))
            .bind(session.user_agent),
        );
    }

    fn prolong_session(&mut self, session: SessionId, used_at: Timestamp, expires_at: Timestamp) {
        self.write(
            sql("UPDATE sessions SET last_used_at = $2, expires_at = $3 WHERE id = $1")
                .bind(session.uuid())
                .bind(used_at)
                .bind(expires_at),
        );
    }

    fn end_sessions(&mut self, sessions: &[SessionId]) {
        let ids: Vec<Uuid> = sessions.iter().map(|session| session.uuid()).collect();
        self.write(sql("DELETE FROM sessions WHERE id = ANY($1)").bind(ids.clone()));
        self.write(
            sql("INSERT INTO revocations (subject, kind)
                 SELECT DISTINCT session, 'session' FROM unnest($1::uuid[]) AS session
                 ON CONFLICT (subject, kind) DO UPDATE SET at = excluded.at")
            .bind(ids),
        );
    }

    fn insert_refresh_token(&mut self, token: NewRefreshToken) {
        self.write(
            sql("INSERT INTO refresh_tokens (digest, session_id, predecessor, expires_at) VALUES ($1, $2, $3, $4)")
                .bind(token.digest.0)
                .bind(token.session.uuid())
                .bind(token.predecessor.map(|predecessor| predecessor.0))
                .bind(token.expires_at),
        );
    }

    fn spend_refresh_token(
        &mut self,
        token: &TokenDigest,
        at: Timestamp,
        sealed_successor: Vec<u8>,
    ) {
        self.write(
            sql("UPDATE refresh_tokens SET sealed_successor = NULL
                 WHERE digest = (SELECT predecessor FROM refresh_tokens WHERE digest = $1)")
            .bind(token.0),
        );
        self.write(
            sql("UPDATE refresh_tokens SET spent_at = $2, sealed_successor = $3 WHERE digest = $1")
                .bind(token.0)
                .bind(at)
                .bind(sealed_successor),
        );
    }
}

impl From<PresentedRow> for PresentedToken {
    fn from(row: PresentedRow) -> Self {
        let successor_unused = row.sealed_successor.is_some();
        let spent = row.spent_at.map(|at| Spent { at, successor_unused });
        Self {
            session: SessionId::from_uuid(row.session_id),
            user: UserId::from_uuid(row.user_id),
            logged_in_at: row.logged_in_at,
            session_expires_at: row.session_expires_at,
            token: RefreshToken { expires_at: row.expires_at, spent },
            sealed_successor: row.sealed_successor,
        }
    }
}

fn account(credential: CredentialRow, sessions: Vec<IdRow>) -> Account {
    Account {
        credential: credential.into(),
        sessions: sessions.into_iter().map(SessionId::from).collect(),
    }
}
