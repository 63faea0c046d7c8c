//! Reads of accounts that need no transaction, and the count of failed logins, which needs none either.

use async_trait::async_trait;
use convene_application::auth::TokenDigest;
use convene_application::auth::ports::{
    AccountKey, AuthReads, Credential, LoginAttempts, MailedToken, PlatformAdmins, Recipient,
};
use convene_application::kernel::store::StoreError;
use convene_domain::ids::{RegistrationId, TypedId as _, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{CredentialRow, IdRow};
use crate::postgres::sql::{sql, stored};
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct MailedTokenRow {
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    expires_at: Timestamp,
    #[diesel(sql_type = Nullable<Text>)]
    email: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    display_name: Option<String>,
    #[diesel(sql_type = Bool)]
    address_taken: bool,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    user_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    address: Option<String>,
}

#[derive(QueryableByName)]
struct GrantedRow {
    #[diesel(sql_type = Bool)]
    granted: bool,
}

#[derive(QueryableByName)]
struct FailuresRow {
    #[diesel(sql_type = Integer)]
    failures: i32,
}

#[async_trait]
impl AuthReads for PgStore {
    async fn credential(&self, address: &str) -> Result<Option<Credential>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<CredentialRow> =
            sql("SELECT user_id, address, password_hash FROM credentials WHERE address = $1")
                .bind(address.to_owned())
                .row(&connection)
                .await?;
        Ok(row.map(Credential::from))
    }

    async fn mailed_token(&self, token: &TokenDigest) -> Result<Option<MailedToken>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<MailedTokenRow> =
            sql("SELECT t.expires_at, r.email, r.display_name, c.user_id, c.address,
                        EXISTS (SELECT FROM credentials taken WHERE taken.address = r.address) AS address_taken
                 FROM email_tokens t
                 LEFT JOIN registrations r ON r.id = t.registration_id
                 LEFT JOIN credentials c ON c.user_id = t.user_id
                 WHERE t.digest = $1")
            .bind(token.0)
            .row(&connection)
            .await?;
        row.map(MailedToken::try_from).transpose()
    }

    async fn pending_registrations(
        &self,
        address: &str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<RegistrationId>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<IdRow> =
            sql("SELECT id FROM registrations WHERE address = $1 AND expires_at > $2
                 ORDER BY created_at DESC, id DESC LIMIT $3")
            .bind(address.to_owned())
            .bind(now)
            .bind(limit)
            .rows(&connection)
            .await?;
        Ok(rows.into_iter().map(|row| RegistrationId::from_uuid(row.id)).collect())
    }
}

#[async_trait]
impl PlatformAdmins for PgStore {
    async fn is_platform_admin(&self, user: UserId) -> Result<bool, StoreError> {
        let connection = self.connection().await?;
        let row: Option<GrantedRow> =
            sql("SELECT EXISTS (SELECT FROM platform_admins WHERE user_id = $1) AS granted")
                .bind(user.uuid())
                .row(&connection)
                .await?;
        Ok(row.is_some_and(|row| row.granted))
    }
}

#[async_trait]
impl LoginAttempts for PgStore {
    async fn count(&self, account: &AccountKey, now: Timestamp) -> Result<u32, StoreError> {
        let connection = self.connection().await?;
        let row: Option<FailuresRow> =
            sql("INSERT INTO login_failures (account, failures, updated_at) VALUES ($1, 1, $2)
                 ON CONFLICT (account) DO UPDATE
                     SET failures = login_failures.failures + 1, updated_at = excluded.updated_at
                 RETURNING failures")
            .bind(account.0)
            .bind(now)
            .row(&connection)
            .await?;
        Ok(row.map_or(0, |row| row.failures.unsigned_abs()))
    }

    async fn take_back(&self, account: &AccountKey) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        sql(
            "UPDATE login_failures SET failures = failures - 1 WHERE account = $1 AND failures > 0",
        )
        .bind(account.0)
        .run(&connection)
        .await?;
        Ok(())
    }
}

impl TryFrom<MailedTokenRow> for MailedToken {
    type Error = StoreError;

    fn try_from(row: MailedTokenRow) -> Result<Self, StoreError> {
        let recipient = match (row.email, row.display_name, row.user_id, row.address) {
            (Some(email), Some(name), _, _) => Recipient::Registrant {
                email: stored("registrations.email", EmailAddress::new(email))?,
                display_name: stored("registrations.display_name", DisplayName::new(name))?,
                address_taken: row.address_taken,
            },
            (_, _, Some(user), Some(address)) => {
                Recipient::Holder { user: UserId::from_uuid(user), address }
            }
            _ => return Err(StoreError::other("a mailed token belongs to nobody")),
        };
        Ok(Self { expires_at: row.expires_at, recipient })
    }
}
