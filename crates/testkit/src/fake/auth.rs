//! Accounts, logins and tokens.

mod crypto;
mod tables;
mod tx;

pub use crypto::{FakeAccessTokens, FakePasswords, FakeSuccessorSealer};
pub use tables::{AuthTables, MailedTokenRow, RefreshTokenRow, RegistrationRow, SessionRow};

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::Arc;

    use super::AuthTables;
    use crate::contract::auth::Ports;
    use crate::fake::FakeStore;

    fn ports() -> Ready<(Ports, ())> {
        let store = Arc::new(FakeStore::<AuthTables>::default());
        let ports = Ports {
            uow: store.clone(),
            reads: store.clone(),
            admins: store.clone(),
            attempts: store.clone(),
            revocations: store.clone(),
            sweep: store.clone(),
            directory: store,
        };
        ready((ports, ()))
    }

    crate::auth_contract!(ports());
}
