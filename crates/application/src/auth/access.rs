//! The platform's administrators at work: what they may do is in the policy, and every change that they make has a reason.
//!
//! Administering is break-glass: it reaches the installation, never what belongs to a community or a person. An entry with
//! the reason is in the audit log before anything is done; where it cannot be written, nothing is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::ports::PlatformAdmins;
use crate::kernel::authz::{Action, Refused, Who};
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::error::{Code, Failure};
use crate::kernel::uow::{AuditEntry, AuditOutcome, Tx, Uow};

/// Why an administrator does something, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

/// What a reason has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reason has 8 to 500 characters, none of them a control character")]
pub struct InvalidReason;

impl Reason {
    /// Reads a reason; white space around it does not count.
    ///
    /// # Errors
    /// [`InvalidReason`].
    pub fn new(text: &str) -> Result<Self, InvalidReason> {
        let text = text.trim();
        let fits = (8..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidReason) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lets administrators in, and nobody else, and remembers what for. Cheap to clone.
#[derive(Clone)]
pub struct AdminAccess {
    admins: Arc<dyn PlatformAdmins>,
    uow: Uow<dyn Tx>,
}

impl AdminAccess {
    /// The use case over its ports.
    #[must_use]
    pub fn new(admins: Arc<dyn PlatformAdmins>, uow: Uow<dyn Tx>) -> Self {
        Self { admins, uow }
    }

    /// Grants an action on the installation to an administrator. Asked of the database each time, so that somebody who is an
    /// administrator no more is none from then on.
    ///
    /// # Errors
    /// `forbidden`, to be audited as a refusal; the store's.
    pub async fn require(
        &self,
        principal: Principal,
        action: Action,
        object: &str,
    ) -> Result<(), Failure> {
        let is_admin = self.admins.is_platform_admin(principal.user).await?;
        if is_admin && action.rule().allows(Who::PlatformAdmin) {
            return Ok(());
        }
        let refused = Refused { action, community: None, object: object.to_owned() };
        let failure =
            Failure::new(Code::Forbidden, "Only administrators of the platform may do this.");
        Err(Failure { refused: Some(Box::new(refused)), ..failure })
    }

    /// Writes that an administrator is about to change something, and why.
    ///
    /// # Errors
    /// The store's; nothing must be done then.
    pub async fn record(
        &self,
        context: &RequestContext,
        action: Action,
        object: &str,
        reason: &Reason,
    ) -> Result<(), Failure> {
        self.write(context, action.name(), object, json!({ "reason": reason.as_str() })).await
    }

    /// Writes what was changed that is in no table of its own.
    ///
    /// # Errors
    /// The store's.
    pub async fn write(
        &self,
        context: &RequestContext,
        action: &'static str,
        object: &str,
        changed: Value,
    ) -> Result<(), Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        tx.staged().audit.push(AuditEntry {
            context: context.clone(),
            community: None,
            action,
            object: object.to_owned(),
            outcome: AuditOutcome::Done,
            changed,
        });
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something() {
        assert_eq!(Reason::new("  on call ").as_ref().map(Reason::as_str), Err(&InvalidReason));
        assert_eq!(Reason::new(" ticket 4711 ").as_ref().map(Reason::as_str), Ok("ticket 4711"));
        for bad in ["", "        ", "why\nnot so", &"x".repeat(501)] {
            assert_eq!(Reason::new(bad), Err(InvalidReason), "{bad:?}");
        }
        assert!(Reason::new(&"ä".repeat(500)).is_ok());
    }
}
