//! Rows of this module.

use convene_application::auth::ports::Credential;
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use diesel::QueryableByName;
use diesel::sql_types::{Text, Uuid as SqlUuid};
use uuid::Uuid;

#[derive(QueryableByName)]
pub(super) struct IdRow {
    #[diesel(sql_type = SqlUuid)]
    pub(super) id: Uuid,
}

impl From<IdRow> for SessionId {
    fn from(row: IdRow) -> Self {
        Self::from_uuid(row.id)
    }
}

#[derive(QueryableByName)]
pub(super) struct CredentialRow {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    password_hash: String,
}

impl From<CredentialRow> for Credential {
    fn from(row: CredentialRow) -> Self {
        Self {
            user: UserId::from_uuid(row.user_id),
            address: row.address,
            password_hash: row.password_hash,
        }
    }
}
