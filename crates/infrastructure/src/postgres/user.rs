//! People.

pub(in crate::postgres) mod load;

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::user::offers::{Contact, Directory, NewUser, ProvisionUser};
use convene_application::user::ports::{UserReads, UserTx};
use convene_domain::ids::{TypedId as _, UserId};
use convene_domain::text::{DisplayName, EmailAddress, Handle};
use convene_domain::user::{Profile, User};
use convene_domain::zone::TimeZoneName;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::sql::{Sql, flight, sql, stored};
use super::store::PgStore;
use super::tx::PgTx;

#[derive(QueryableByName)]
struct UserRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    email: String,
    #[diesel(sql_type = Bool)]
    email_verified: bool,
    #[diesel(sql_type = Text)]
    display_name: String,
    #[diesel(sql_type = Nullable<Text>)]
    handle: Option<String>,
    #[diesel(sql_type = Text)]
    time_zone: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    updated_at: Timestamp,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        let handle = row.handle.map(Handle::new).transpose();
        Ok(Self {
            id: UserId::from_uuid(row.id),
            email: stored("users.email", EmailAddress::new(row.email))?,
            email_verified: row.email_verified,
            profile: Profile {
                display_name: stored("users.display_name", DisplayName::new(row.display_name))?,
                handle: stored("users.handle", handle)?,
                time_zone: stored("users.time_zone", TimeZoneName::new(row.time_zone))?,
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(QueryableByName)]
struct ContactRow {
    #[diesel(sql_type = Text)]
    email: String,
    #[diesel(sql_type = Text)]
    display_name: String,
}

#[async_trait]
impl UserTx for PgTx {
    async fn lock_user(&mut self, user: UserId) -> Result<Option<User>, StoreError> {
        let (_, row) = self
            .flight(|connection| async move {
                flight!(
                    sql("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE")
                        .bind(user.uuid())
                        .run(connection),
                    find(user).row::<UserRow>(connection),
                )
            })
            .await?;
        row.map(User::try_from).transpose()
    }

    fn save_profile(&mut self, user: &User) {
        let profile = user.profile.clone();
        self.write(
            sql("UPDATE users SET display_name = $2, handle = $3, time_zone = $4, updated_at = $5 WHERE id = $1")
                .bind(user.id.uuid())
                .bind(String::from(profile.display_name))
                .bind(profile.handle.map(String::from))
                .bind(String::from(profile.time_zone))
                .bind(user.updated_at),
        );
    }
}

impl ProvisionUser for PgTx {
    fn provision_user(&mut self, user: NewUser) {
        self.write(
            sql("INSERT INTO users (id, email, email_verified_at, display_name, version, created_at, updated_at)
                 VALUES ($1, $2, $4, $3, 1, $4, $4)")
            .bind(user.id.uuid())
            .bind(String::from(user.email))
            .bind(String::from(user.display_name))
            .bind(user.created_at),
        );
    }
}

#[async_trait]
impl UserReads for PgStore {
    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        let connection = self.connection().await?;
        find(user).row::<UserRow>(&connection).await?.map(User::try_from).transpose()
    }
}

#[async_trait]
impl Directory for PgStore {
    async fn contact(&self, user: UserId) -> Result<Option<Contact>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<ContactRow> = sql("SELECT email, display_name FROM users WHERE id = $1")
            .bind(user.uuid())
            .row(&connection)
            .await?;
        row.map(|row| {
            Ok(Contact {
                email: stored("users.email", EmailAddress::new(row.email))?,
                display_name: stored("users.display_name", DisplayName::new(row.display_name))?,
            })
        })
        .transpose()
    }
}

fn find(user: UserId) -> Sql {
    sql("SELECT id, email, email_verified_at IS NOT NULL AS email_verified, display_name, handle, time_zone,
                created_at, updated_at
         FROM users WHERE id = $1")
    .bind(user.uuid())
}
