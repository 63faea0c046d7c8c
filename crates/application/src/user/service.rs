//! The use cases of one's own profile.

use std::sync::Arc;

use convene_domain::user::{ProfileChange, User};
use serde_json::json;

use super::ports::{HANDLE_TAKEN, UserReads, UserTx};
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Checked, Code, Failure};
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::precondition::IfMatch;
use crate::kernel::store::StoreError;
use crate::kernel::uow::{self, Uow};

/// The use cases of one's own profile. Cheap to clone.
#[derive(Clone)]
pub struct UserService {
    env: Env,
    uow: Uow<dyn UserTx>,
    reads: Arc<dyn UserReads>,
}

impl UserService {
    /// The service over its ports.
    #[must_use]
    pub fn new(env: Env, uow: Uow<dyn UserTx>, reads: Arc<dyn UserReads>) -> Self {
        Self { env, uow, reads }
    }

    /// Oneself.
    ///
    /// # Errors
    /// `not_found` if the account is gone.
    pub async fn me(&self, principal: Principal) -> Result<User, Failure> {
        self.reads.user(principal.user).await?.ok_or_else(Failure::not_found)
    }

    /// Changes one's own profile. A change of nothing answers like any other and leaves the tag as it is.
    ///
    /// # Errors
    /// `not_found`, `precondition_required`, `precondition_failed`, the input's own mistakes, `handle_taken`.
    pub async fn update(
        &self,
        context: &RequestContext,
        principal: Principal,
        change: Checked<ProfileChange>,
        if_match: &IfMatch<User>,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Reply<User>, Failure> {
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let mut user = tx.lock_user(principal.user).await?.ok_or_else(Failure::not_found)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        if_match.check(&user)?;

        let changed = user.change_profile(change?, self.env.now());
        if !changed.is_empty() {
            tx.save_profile(&user);
            tx.staged().audit(context, None, "user.update", user.id, json!({ "fields": changed }));
        }
        tx.staged().reply(idempotency.as_ref(), &user);
        tx.commit().await.map_err(handle_taken)?;
        Ok(Reply::Fresh(user))
    }
}

fn handle_taken(error: StoreError) -> Failure {
    if error.violates(HANDLE_TAKEN) {
        Failure::new(Code::HandleTaken, "Another person has this handle.")
    } else {
        error.into()
    }
}
