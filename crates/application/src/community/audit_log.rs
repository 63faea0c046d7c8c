//! Who did what in a community, as its owner and admins read it.

use std::sync::Arc;

use convene_domain::community::CommunityRef;
use convene_domain::ids::UserId;
use jiff::Timestamp;

use super::offers::{Communities, CommunityStanding};
use crate::kernel::audit::{AuditLog, EntryFilter, LoggedEntry};
use crate::kernel::authz::Action;
use crate::kernel::context::{Actor, Principal};
use crate::kernel::error::{Checked, Failure, FieldError, Place};
use crate::kernel::page::{Page, PageQuery};

/// The longest name of an action that is looked for.
const ACTION_LENGTH: usize = 64;

/// Reads the audit log of a community. Cheap to clone.
#[derive(Clone)]
pub struct CommunityAuditLog {
    communities: Arc<dyn Communities>,
    log: Arc<dyn AuditLog>,
}

impl CommunityAuditLog {
    /// The use case over its ports.
    #[must_use]
    pub fn new(communities: Arc<dyn Communities>, log: Arc<dyn AuditLog>) -> Self {
        Self { communities, log }
    }

    /// A page of the log by number, oldest first. Nothing ever appears before an entry that was read. During a time, by when
    /// it happened.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, mistakes of the query.
    pub async fn page(
        &self,
        principal: Principal,
        community: &CommunityRef,
        query: Checked<(EntryFilter, PageQuery)>,
    ) -> Result<Page<LoggedEntry>, Failure> {
        let found = self.communities.find(community, Some(principal.user)).await?;
        let community =
            found.filter(CommunityStanding::is_visible).ok_or_else(Failure::not_found)?;
        community.standing().require(Action::ReadAuditLog)?;
        let (filter, query) = query?;
        Ok(self.log.entries(community.id, &filter, query).await?)
    }
}

/// Reads the query parameters `since` and `until` (RFC 3339, `until` exclusive), of which both or one may be given, and no
/// other filter with them.
///
/// # Errors
/// The parameter that is wrong.
pub fn period_filter(
    since: Option<&str>,
    until: Option<&str>,
    others: bool,
) -> Result<EntryFilter, FieldError> {
    let read = |name, text: Option<&str>| {
        let wrong =
            |_| mistake(name, "invalid_format", "must be a time of RFC 3339 with its offset");
        text.map(str::parse::<Timestamp>).transpose().map_err(wrong)
    };
    let (from, to) = (read("since", since)?, read("until", until)?);
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(mistake("until", "invalid_order", "must be later than since"));
    }
    if others {
        let name = if since.is_some() { "since" } else { "until" };
        return Err(mistake(name, "not_allowed", "cannot be given together with actor or action"));
    }
    Ok(EntryFilter::During { since: from, until: to })
}

fn mistake(name: &str, code: &'static str, detail: &'static str) -> FieldError {
    FieldError { place: Place::Parameter(name.to_owned()), code, detail: detail.into() }
}

/// Reads the query parameters `actor` and `action`, of which one may be given.
///
/// # Errors
/// The parameter that is wrong.
pub fn entry_filter(actor: Option<&str>, action: Option<&str>) -> Result<EntryFilter, FieldError> {
    match (actor, action) {
        (None, None) => Ok(EntryFilter::Any),
        (Some(_), Some(_)) => {
            Err(mistake("action", "not_allowed", "cannot be given together with actor"))
        }
        (Some(actor), None) => {
            let known = actor.parse::<UserId>().is_ok() || actor == Actor::System.to_string();
            let wrong =
                || mistake("actor", "unknown_value", "must be the id of a person, or system");
            known.then(|| EntryFilter::Actor(actor.to_owned())).ok_or_else(wrong)
        }
        (None, Some(action)) => {
            let is_word = |word: &str| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            let known = action.len() <= ACTION_LENGTH
                && action
                    .split_once('.')
                    .is_some_and(|(module, verb)| is_word(module) && is_word(verb));
            let wrong =
                || mistake("action", "unknown_value", "must be an action such as event.update");
            known.then(|| EntryFilter::Action(action.to_owned())).ok_or_else(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ends_after_it_begins() {
        let (noon, evening) = ("2027-04-01T12:00:00Z", "2027-04-01T20:00:00+02:00");
        let during = period_filter(Some(noon), Some(evening), false).unwrap();
        let EntryFilter::During { since: Some(since), until: Some(until) } = during else {
            panic!("{during:?}");
        };
        assert_eq!(until.duration_since(since).as_hours(), 6);
        assert!(period_filter(None, Some(noon), false).is_ok());
        let place = |since, until, others| match period_filter(since, until, others) {
            Err(FieldError { place: Place::Parameter(name), .. }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(place(Some("yesterday"), None, false), "since");
        assert_eq!(place(Some("2027-04-01"), None, false), "since");
        assert_eq!(place(None, Some("2027-04-01T12:00:00"), false), "until");
        assert_eq!(place(Some(noon), Some(noon), false), "until");
        assert_eq!(place(Some(noon), None, true), "since");
        assert_eq!(place(None, Some(noon), true), "until");
    }

    #[test]
    fn one_filter_at_a_time_and_each_of_its_form() {
        assert_eq!(entry_filter(None, None), Ok(EntryFilter::Any));
        let system = EntryFilter::Actor("system".to_owned());
        assert_eq!(entry_filter(Some("system"), None), Ok(system));
        assert!(entry_filter(Some("user_01h455vb4pex5vsknk084sn02q"), None).is_ok());
        assert!(entry_filter(None, Some("event.update")).is_ok());
        for bad in ["", "nobody", "comm_01h455vb4pex5vsknk084sn02q"] {
            assert!(entry_filter(Some(bad), None).is_err(), "{bad}");
        }
        for bad in ["", "event", "event.", ".update", "event.update.more", "Event.update"] {
            assert!(entry_filter(None, Some(bad)).is_err(), "{bad}");
        }
        assert!(entry_filter(Some("system"), Some("event.update")).is_err());
    }
}
