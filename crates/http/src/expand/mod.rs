//! What comes with a resource when `?expand=` asks for it, put together from the modules that have it.
//!
//! Each relation is read for all items of a page at once, so a page costs as many reads as it has relations, however long
//! it is.

mod related;

use std::collections::HashMap;
use std::hash::Hash;

use convene_application::community::CommunityService;
use convene_application::event::EventService;
use convene_application::kernel::context::Principal;
use convene_application::kernel::error::Failure;
use convene_application::rsvp::RsvpService;
use convene_domain::ids::{CommunityId, EventId};

pub(crate) use self::related::{Related, availability, community, event, membership, rsvp};
use crate::Services;
use crate::community::dto::{Community, Member};
use crate::event::dto::Event;
use crate::extract::{Expansion, Relations};
use crate::rsvp::dto::{EventAvailability, Rsvp};

/// What may come with an event.
#[derive(Debug)]
pub(crate) struct OfEvent;

impl Relations for OfEvent {
    const PATHS: &'static [&'static str] =
        &["availability", "community", "community.membership", "rsvp"];
}

/// What may come with a community.
#[derive(Debug)]
pub(crate) struct OfCommunity;

impl Relations for OfCommunity {
    const PATHS: &'static [&'static str] = &["membership"];
}

/// What may come with one's own RSVP.
#[derive(Debug)]
pub(crate) struct OfRsvp;

impl Relations for OfRsvp {
    const PATHS: &'static [&'static str] = &["event", "event.availability", "event.community"];
}

/// What comes with an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct BesideEvent {
    pub(crate) availability: Related,
    pub(crate) community: Related,
    pub(crate) rsvp: Related,
}

/// Reads what comes with resources that the caller is known to see.
pub(crate) struct Expander {
    communities: CommunityService,
    events: EventService,
    rsvps: RsvpService,
}

impl Expander {
    pub(crate) fn over(services: &Services) -> Self {
        Self {
            communities: services.community.communities.clone(),
            events: (*services.event).clone(),
            rsvps: (*services.rsvp).clone(),
        }
    }

    /// What comes with each of these events.
    pub(crate) async fn beside_events(
        &self,
        caller: Option<Principal>,
        expansion: &Expansion,
        events: &[(EventId, CommunityId)],
    ) -> Result<Vec<BesideEvent>, Failure> {
        let mut beside = vec![BesideEvent::default(); events.len()];
        if expansion.is_empty() || events.is_empty() {
            return Ok(beside);
        }
        let viewer = caller.map(|caller| caller.user);
        let ids: Vec<EventId> = events.iter().map(|(event, _)| *event).collect();
        if expansion.has("availability") {
            let found = self.rsvps.availability_of(viewer, &ids).await?;
            for (beside, event) in beside.iter_mut().zip(&ids) {
                let seats = found.get(event).copied();
                beside.availability = Related::of(seats.map(EventAvailability::from));
            }
        }
        if expansion.has("community") {
            let communities: Vec<CommunityId> = events.iter().map(|(_, id)| *id).collect();
            let within = expansion.within("community");
            let found = self.communities(caller, &within, &communities).await?;
            for (beside, community) in beside.iter_mut().zip(&communities) {
                beside.community = Related::of(found.get(community));
            }
        }
        if expansion.has("rsvp") {
            let found = match caller {
                Some(caller) => self.rsvps.mine_of(caller, &ids).await?,
                None => HashMap::new(),
            };
            for (beside, event) in beside.iter_mut().zip(&ids) {
                beside.rsvp = Related::of(found.get(event).map(Rsvp::from));
            }
        }
        Ok(beside)
    }

    /// The membership that comes with each of these communities.
    pub(crate) async fn beside_communities(
        &self,
        caller: Option<Principal>,
        expansion: &Expansion,
        communities: &[CommunityId],
    ) -> Result<Vec<Related>, Failure> {
        if !expansion.has("membership") {
            return Ok(vec![Related::default(); communities.len()]);
        }
        let found = match caller {
            Some(caller) => {
                self.communities.own_memberships(caller, &distinct(communities)).await?
            }
            None => HashMap::new(),
        };
        let membership = |id| Related::of(found.get(id).map(Member::from));
        Ok(communities.iter().map(membership).collect())
    }

    /// The event that comes with each RSVP to these.
    pub(crate) async fn beside_rsvps(
        &self,
        caller: Principal,
        expansion: &Expansion,
        events: &[EventId],
    ) -> Result<Vec<Related>, Failure> {
        if !expansion.has("event") {
            return Ok(vec![Related::default(); events.len()]);
        }
        let found = self.events.several(Some(caller.user), &distinct(events)).await?;
        let found: Vec<_> = found.into_values().collect();
        let ids: Vec<_> = found.iter().map(|event| (event.id, event.community)).collect();
        let beside = self.beside_events(Some(caller), &expansion.within("event"), &ids).await?;
        let bodies: HashMap<EventId, Event> = found
            .iter()
            .zip(beside)
            .map(|(event, beside)| (event.id, Event::from(event).with(beside)))
            .collect();
        Ok(events.iter().map(|event| Related::of(bodies.get(event))).collect())
    }

    /// Those of these communities that the caller may see, with what comes with them.
    async fn communities(
        &self,
        caller: Option<Principal>,
        expansion: &Expansion,
        communities: &[CommunityId],
    ) -> Result<HashMap<CommunityId, Community>, Failure> {
        let viewer = caller.map(|caller| caller.user);
        let found = self.communities.several(viewer, &distinct(communities)).await?;
        let ids: Vec<CommunityId> = found.keys().copied().collect();
        let memberships = self.beside_communities(caller, expansion, &ids).await?;
        let body = |(id, membership): (&CommunityId, Related)| {
            (*id, Community::from(&found[id]).with(membership))
        };
        Ok(ids.iter().zip(memberships).map(body).collect())
    }
}

/// Each once.
fn distinct<T: Copy + Eq + Hash + Ord>(ids: &[T]) -> Vec<T> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}
