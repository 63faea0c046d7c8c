//! The endpoints of a community.

use std::time::Duration;

use jiff::Timestamp;

use super::{Answer, EndpointUrl, EventTypes, Health, RateLimit, Signature, Spread};
use crate::ids::{CommunityId, UserId, WebhookId};
use crate::text::Description;

/// Whether anything is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointStatus {
    /// Deliveries are sent.
    Enabled,
    /// Deliveries are kept until it is enabled again.
    Disabled,
}

impl EndpointStatus {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    /// The status with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Enabled, Self::Disabled].into_iter().find(|status| status.as_str() == name)
    }
}

/// A place that a community has its events sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub id: WebhookId,
    /// The community whose events it gets.
    pub community: CommunityId,
    /// Who made it, and is told when it fails.
    pub created_by: UserId,
    /// Where its events go.
    pub url: EndpointUrl,
    /// Which events it gets.
    pub event_types: EventTypes,
    /// What it is for.
    pub description: Option<Description>,
    /// What its webhooks are signed with.
    pub signature: Signature,
    /// The names of the header fields that its owner has sent along, in their order. Their values are kept apart.
    pub header_names: Vec<String>,
    /// How many webhooks it takes in a second; as many as go without.
    pub rate_limit: Option<RateLimit>,
    /// Whether anything is sent to it.
    pub status: EndpointStatus,
    /// How it has been answering.
    pub health: Health,
    /// How many recorded events it has, which is the aggregate version of the last; 0 before the first.
    pub version: i32,
    /// When it was made. It gets the events of later times.
    pub created_at: Timestamp,
    /// When it last changed; its health is no part of that.
    pub updated_at: Timestamp,
}

/// What a new endpoint is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEndpoint {
    /// Where its events go.
    pub url: EndpointUrl,
    /// Which events it gets.
    pub event_types: EventTypes,
    /// What it is for.
    pub description: Option<Description>,
}

/// Changes to an endpoint; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointPatch {
    /// Another URL.
    pub url: Option<EndpointUrl>,
    /// Other events.
    pub event_types: Option<EventTypes>,
    /// Another description, or none.
    pub description: Option<Option<Description>>,
    /// Another status.
    pub status: Option<EndpointStatus>,
    /// Another rate, or none.
    pub rate_limit: Option<Option<RateLimit>>,
    /// Other header fields, of these names. Given, it is a change: their values are not known here.
    pub header_names: Option<Vec<String>>,
}

impl Endpoint {
    /// A new endpoint, enabled, with no header fields of its own, no rate, and signed with a shared secret.
    #[must_use]
    pub fn new(
        id: WebhookId,
        community: CommunityId,
        created_by: UserId,
        new: NewEndpoint,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            community,
            created_by,
            url: new.url,
            event_types: new.event_types,
            description: new.description,
            signature: Signature::default(),
            header_names: Vec::new(),
            rate_limit: None,
            status: EndpointStatus::Enabled,
            health: Health::default(),
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether deliveries are sent.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.status == EndpointStatus::Enabled
    }

    /// The endpoint with the changes applied. `None` if they change nothing. Enabling it again, or sending it elsewhere,
    /// forgets how it has been answering.
    #[must_use]
    pub fn patched(&self, patch: EndpointPatch, now: Timestamp) -> Option<Self> {
        let mut patched = Self {
            url: patch.url.unwrap_or_else(|| self.url.clone()),
            event_types: patch.event_types.unwrap_or_else(|| self.event_types.clone()),
            description: patch.description.unwrap_or_else(|| self.description.clone()),
            status: patch.status.unwrap_or(self.status),
            rate_limit: patch.rate_limit.unwrap_or(self.rate_limit),
            ..self.clone()
        };
        let other_headers = patch.header_names.is_some();
        patched.header_names = patch.header_names.unwrap_or(patched.header_names);
        if patched == *self && !other_headers {
            return None;
        }
        if patched.url != self.url || (patched.is_enabled() && !self.is_enabled()) {
            patched.health = Health::default();
        }
        patched.updated_at = now;
        Some(patched)
    }

    /// The endpoint with another secret, and perhaps another scheme.
    #[must_use]
    pub fn rotated(&self, signature: Signature, now: Timestamp) -> Self {
        Self { signature, updated_at: now, ..self.clone() }
    }

    /// Takes note of how an attempt was answered. An endpoint that is gone, or has failed for too long, is disabled: `true` if
    /// that happened now.
    pub fn observe(
        &mut self,
        answer: Answer,
        retry_after: Option<Duration>,
        at: Timestamp,
        spread: Spread,
    ) -> bool {
        self.health.observe(answer, retry_after, at, spread);
        let give_up = answer == Answer::Gone || self.health.is_hopeless(at);
        if !(give_up && self.is_enabled()) {
            return false;
        }
        self.status = EndpointStatus::Disabled;
        self.updated_at = at;
        true
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::TypedId as _;

    const SPREAD: Spread = Spread::from_random(0);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn url(text: &str) -> EndpointUrl {
        EndpointUrl::new(text).unwrap()
    }

    fn endpoint() -> Endpoint {
        let new = NewEndpoint {
            url: url("https://hooks.example/1"),
            event_types: EventTypes::new(vec!["*".to_owned()]).unwrap(),
            description: None,
        };
        let id = Uuid::nil();
        Endpoint::new(
            WebhookId::from_uuid(id),
            CommunityId::from_uuid(id),
            UserId::from_uuid(id),
            new,
            at(0),
        )
    }

    #[test]
    fn a_patch_of_nothing_is_none() {
        let endpoint = endpoint();
        let same = EndpointPatch {
            url: Some(endpoint.url.clone()),
            status: Some(EndpointStatus::Enabled),
            description: Some(None),
            ..EndpointPatch::default()
        };
        assert_eq!(endpoint.patched(same, at(9)), None);
        let named = EndpointPatch {
            description: Some(Some(Description::new("CRM").unwrap())),
            ..EndpointPatch::default()
        };
        let named = endpoint.patched(named, at(9)).unwrap();
        assert_eq!((named.created_at, named.updated_at, named.version), (at(0), at(9), 0));
    }

    #[test]
    fn a_fresh_start_forgets_the_past() {
        let mut failing = endpoint();
        failing.observe(Answer::Failed, None, at(1), SPREAD);
        let renamed = EndpointPatch {
            description: Some(Some(Description::new("CRM").unwrap())),
            ..EndpointPatch::default()
        };
        assert_eq!(failing.patched(renamed, at(2)).unwrap().health, failing.health);
        let moved =
            EndpointPatch { url: Some(url("https://hooks.example/2")), ..EndpointPatch::default() };
        assert_eq!(failing.patched(moved, at(2)).unwrap().health, Health::default());
        assert!(failing.observe(Answer::Gone, None, at(3), SPREAD));
        let enabled =
            EndpointPatch { status: Some(EndpointStatus::Enabled), ..EndpointPatch::default() };
        let enabled = failing.patched(enabled, at(4)).unwrap();
        assert_eq!((enabled.status, enabled.health), (EndpointStatus::Enabled, Health::default()));
    }

    #[test]
    fn an_endpoint_is_disabled_once() {
        let mut endpoint = endpoint();
        assert!(!endpoint.observe(Answer::Failed, None, at(1), SPREAD));
        assert!(endpoint.observe(Answer::Gone, None, at(2), SPREAD));
        assert_eq!((endpoint.status, endpoint.updated_at), (EndpointStatus::Disabled, at(2)));
        assert!(!endpoint.observe(Answer::Gone, None, at(3), SPREAD));
        assert_eq!(endpoint.updated_at, at(2));
    }
}
