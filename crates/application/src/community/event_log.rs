//! The recorded events of a community, as its owner and admins read them.

use std::sync::Arc;

use convene_contracts::EventTypePattern;
use convene_domain::community::CommunityRef;

use super::offers::{Communities, CommunityStanding};
use crate::kernel::authz::Action;
use crate::kernel::context::Principal;
use crate::kernel::error::{Checked, Failure, FieldError, Place};
use crate::kernel::events::LoggedEvent;
use crate::kernel::log::{CommunityLog, TypeFilter};
use crate::kernel::page::{Page, PageQuery};

/// Reads the event log of a community. Cheap to clone.
#[derive(Clone)]
pub struct CommunityEventLog {
    communities: Arc<dyn Communities>,
    log: Arc<dyn CommunityLog>,
}

impl CommunityEventLog {
    /// The use case over its ports.
    #[must_use]
    pub fn new(communities: Arc<dyn Communities>, log: Arc<dyn CommunityLog>) -> Self {
        Self { communities, log }
    }

    /// A page of the log by position, oldest first. Nothing ever appears before an event that was read.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, mistakes of the query.
    pub async fn page(
        &self,
        principal: Principal,
        community: &CommunityRef,
        query: Checked<(TypeFilter, PageQuery)>,
    ) -> Result<Page<LoggedEvent>, Failure> {
        let found = self.communities.find(community, Some(principal.user)).await?;
        let community =
            found.filter(CommunityStanding::is_visible).ok_or_else(Failure::not_found)?;
        community.standing().require(Action::ReadEventLog)?;
        let (filter, query) = query?;
        Ok(self.log.page(community.id, &filter, query).await?)
    }
}

/// Reads the query parameter `type`: an exact event type or `module.*`.
///
/// # Errors
/// Anything else.
pub fn type_filter(text: Option<&str>) -> Result<TypeFilter, FieldError> {
    let Some(text) = text else { return Ok(TypeFilter::Any) };
    match EventTypePattern::parse(text) {
        Ok(EventTypePattern::Module(module)) => Ok(TypeFilter::Module(module.to_owned())),
        Ok(EventTypePattern::Exact(name)) => Ok(TypeFilter::Exact(name.to_owned())),
        Ok(EventTypePattern::Any) | Err(_) => Err(FieldError {
            place: Place::Parameter("type".to_owned()),
            code: "unknown_value",
            detail: "must be an event type such as rsvp.confirmed, or a module's such as rsvp.*"
                .into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_type_or_a_module() {
        assert_eq!(type_filter(None), Ok(TypeFilter::Any));
        assert_eq!(type_filter(Some("rsvp.*")), Ok(TypeFilter::Module("rsvp".to_owned())));
        let exact = TypeFilter::Exact("event.created".to_owned());
        assert_eq!(type_filter(Some("event.created")), Ok(exact));
        for bad in ["", "*", "rsvp", "nope.*", "rsvp.nope"] {
            assert!(type_filter(Some(bad)).is_err(), "{bad}");
        }
    }
}
