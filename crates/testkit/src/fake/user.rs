//! People.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_application::user::offers::{Contact, Directory, NewUser, ProvisionUser};
use convene_application::user::ports::{HANDLE_TAKEN, UserReads, UserTx};
use convene_domain::ids::UserId;
use convene_domain::user::{Profile, User};
use convene_domain::zone::TimeZoneName;

use super::store::{FakeStore, FakeTx};

/// The tables of people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(pub BTreeMap<UserId, User>);

/// Tables that hold people among others.
pub trait HasUsers: Clone + Default + Send + Sync + 'static {
    /// The people.
    fn users(&self) -> &Users;
    /// The people, to be changed.
    fn users_mut(&mut self) -> &mut Users;
}

impl HasUsers for Users {
    fn users(&self) -> &Users {
        self
    }

    fn users_mut(&mut self) -> &mut Users {
        self
    }
}

#[async_trait]
impl<T: HasUsers> UserTx for FakeTx<T> {
    async fn lock_user(&mut self, user: UserId) -> Result<Option<User>, StoreError> {
        Ok(self.read().await?.users().0.get(&user).cloned())
    }

    fn save_profile(&mut self, user: &User) {
        let user = user.clone();
        self.write(move |tables| {
            let people = &mut tables.users_mut().0;
            let handle = &user.profile.handle;
            let taken = |other: &User| other.id != user.id && other.profile.handle == *handle;
            if handle.is_some() && people.values().any(taken) {
                return Err(StoreError::Unique { constraint: HANDLE_TAKEN.to_owned() });
            }
            if let Some(row) = people.get_mut(&user.id) {
                row.profile = user.profile;
                row.updated_at = user.updated_at;
            }
            Ok(())
        });
    }
}

impl<T: HasUsers> ProvisionUser for FakeTx<T> {
    fn provision_user(&mut self, user: NewUser) {
        self.write(move |tables| {
            let row = User {
                id: user.id,
                email: user.email,
                email_verified: true,
                profile: Profile {
                    display_name: user.display_name,
                    handle: None,
                    time_zone: TimeZoneName::new("UTC").map_err(|_| StoreError::other("UTC"))?,
                },
                created_at: user.created_at,
                updated_at: user.created_at,
            };
            tables.users_mut().0.insert(row.id, row);
            Ok(())
        });
    }
}

#[async_trait]
impl<T: HasUsers> UserReads for FakeStore<T> {
    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        Ok(self.tables().await?.users().0.get(&user).cloned())
    }
}

#[async_trait]
impl<T: HasUsers> Directory for FakeStore<T> {
    async fn contact(&self, user: UserId) -> Result<Option<Contact>, StoreError> {
        Ok(self.tables().await?.users().0.get(&user).map(|user| Contact {
            email: user.email.clone(),
            display_name: user.profile.display_name.clone(),
        }))
    }
}

#[async_trait]
impl<T: HasUsers> Begin<dyn UserTx> for FakeStore<T> {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn UserTx>, StoreError> {
        Ok(Box::new(self.unit(claims)?))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::Arc;

    use super::*;
    use crate::contract::user::Ports;
    use crate::fake::auth::AuthTables;

    fn ports() -> Ready<(Ports, ())> {
        let store = Arc::new(FakeStore::<AuthTables>::default());
        let provisioning = Arc::clone(&store) as _;
        ready((
            Ports { uow: store.clone(), provisioning, reads: store.clone(), directory: store },
            (),
        ))
    }

    crate::user_contract!(ports());
}
