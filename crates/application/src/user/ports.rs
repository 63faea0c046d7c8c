//! What this module needs of the store.

use async_trait::async_trait;
use convene_domain::ids::UserId;
use convene_domain::user::User;

use crate::kernel::store::StoreError;
use crate::kernel::uow::Tx;

/// The constraint that gives each handle to one person.
pub const HANDLE_TAKEN: &str = "users_handle_key";

/// The transaction of this module.
#[async_trait]
pub trait UserTx: Tx {
    /// Locks a person's row and reads it. `None` without such an account.
    ///
    /// # Errors
    /// The store's.
    async fn lock_user(&mut self, user: UserId) -> Result<Option<User>, StoreError>;

    /// Stages the profile of a person whose row is locked. A handle of somebody else surfaces from commit, as a violation
    /// of [`HANDLE_TAKEN`].
    fn save_profile(&mut self, user: &User);
}

/// Reads that need no transaction.
#[async_trait]
pub trait UserReads: Send + Sync {
    /// A person. `None` without such an account.
    ///
    /// # Errors
    /// The store's.
    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError>;
}
