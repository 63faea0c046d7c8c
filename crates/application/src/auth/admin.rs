//! Making somebody an administrator of the platform: what only an operator can do, at the machine itself.

use convene_domain::auth::password::Password;
use convene_domain::ids::UserId;
use convene_domain::text::{DisplayName, EmailAddress};
use serde_json::json;

use super::ports::{ADDRESS_TAKEN, AdminGrant};
use super::service::AuthService;
use crate::kernel::context::RequestContext;
use crate::kernel::error::{Code, Failure};

/// Who is to administer the platform.
#[derive(Clone, Debug)]
pub struct NewAdmin {
    /// The address. The operator vouches that it is theirs.
    pub email: EmailAddress,
    /// How the person is called, if there is no account yet.
    pub display_name: DisplayName,
    /// The password, if there is no account yet. That of an account stays.
    pub password: Password,
    /// Why, for the record.
    pub reason: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminMade {
    /// There is a new account, which has the given password.
    Created(UserId),
    /// The account was there; its password is untouched.
    Promoted(UserId),
}

impl AdminMade {
    /// Who it is.
    #[must_use]
    pub fn user(self) -> UserId {
        match self {
            Self::Created(user) | Self::Promoted(user) => user,
        }
    }
}

impl AuthService {
    /// Makes the holder of an address an administrator of the platform; without an account, makes that first, verified.
    /// The event that tells of the account names nobody as actor but the system.
    ///
    /// # Errors
    /// `overloaded`; `unavailable` if the address gets an account by other means at this very moment.
    pub async fn make_admin(
        &self,
        context: &RequestContext,
        admin: NewAdmin,
    ) -> Result<AdminMade, Failure> {
        let auth = &*self.0;
        let now = auth.env.now();
        let grant = |user, reason| AdminGrant { user, granted_by: None, reason, at: now };
        if let Some(credential) = auth.reads.credential(&admin.email.normalized()).await? {
            let user = credential.user;
            let mut tx = auth.uow.begin(Vec::new()).await?;
            tx.grant_platform_admin(grant(user, admin.reason));
            let facts = json!({ "created": false });
            tx.staged().audit(context, None, "auth.make_admin", user, facts);
            tx.commit().await?;
            return Ok(AdminMade::Promoted(user));
        }

        let person = auth.newcomer(admin.email, admin.display_name, now);
        let user = person.id;
        let password_hash = auth.hash(admin.password).await?;
        let mut tx = auth.uow.begin(Vec::new()).await?;
        auth.open_account(&mut *tx, context, person, password_hash);
        tx.grant_platform_admin(grant(user, admin.reason));
        tx.staged().audit(context, None, "auth.make_admin", user, json!({ "created": true }));
        tx.commit().await.map_err(|error| {
            if error.violates(ADDRESS_TAKEN) {
                Failure::new(
                    Code::Unavailable,
                    "The address has got an account just now: try again.",
                )
            } else {
                error.into()
            }
        })?;
        Ok(AdminMade::Created(user))
    }
}
