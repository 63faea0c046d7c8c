//! What this module offers to others: how to reach a person, and the making of an account's profile.

use async_trait::async_trait;
use convene_domain::ids::UserId;
use convene_domain::text::{DisplayName, EmailAddress};
use jiff::Timestamp;

use crate::kernel::store::StoreError;

/// How to reach a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The verified address.
    pub email: EmailAddress,
    /// How the person is called.
    pub display_name: DisplayName,
}

/// Finds people.
#[async_trait]
pub trait Directory: Send + Sync {
    /// How to reach a person. `None` without such an account.
    ///
    /// # Errors
    /// The store's.
    async fn contact(&self, user: UserId) -> Result<Option<Contact>, StoreError>;
}

/// A person whose account comes to be, with a verified address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Who it is.
    pub id: UserId,
    /// The address, which the person has proved to be theirs.
    pub email: EmailAddress,
    /// How the person is shown.
    pub display_name: DisplayName,
    /// Now.
    pub created_at: Timestamp,
}

/// Makes profiles within another module's transaction.
pub trait ProvisionUser: Send {
    /// Stages a new person, who has no handle yet and whose times are shown in UTC. That each address has one account is
    /// the business of who calls.
    fn provision_user(&mut self, user: NewUser);
}
