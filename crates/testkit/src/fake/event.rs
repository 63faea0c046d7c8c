//! Events and who organises them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use convene_application::community::offers::CommunityStanding;
use convene_application::event::ports::{EventReads, EventTx, LockedEvent, SeenEvent, Unpublished};
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::page::{Page, PageKey, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_domain::community::CommunityRef;
use convene_domain::event::{Capacity, Event};
use convene_domain::ids::{CommunityId, EventId, TypedId as _, UserId};

use super::community::HasCommunities;
use super::page::{Order, page};
use super::seats::HasSeats;
use super::store::{FakeStore, FakeTx};

/// The tables of events. The capacities in them are those of their making; the present ones lie with the seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Events by id.
    pub events: BTreeMap<EventId, Event>,
    /// Who organises which.
    pub organizers: BTreeSet<(EventId, UserId)>,
}

/// Tables that hold events among others.
pub trait HasEvents: HasCommunities + HasSeats {
    /// The events.
    fn events(&self) -> &Events;
    /// The events, to be changed.
    fn events_mut(&mut self) -> &mut Events;
}

#[async_trait]
impl<T: HasEvents> EventTx for FakeTx<T> {
    async fn hold_community(
        &mut self,
        community: &CommunityRef,
        viewer: UserId,
    ) -> Result<Option<CommunityStanding>, StoreError> {
        Ok(standing(self.read().await?, community, Some(viewer)))
    }

    async fn lock_event(
        &mut self,
        event: EventId,
        viewer: UserId,
    ) -> Result<Option<LockedEvent>, StoreError> {
        let tables = self.read().await?;
        let seats = tables.seating().0.get(&event).copied();
        let seen = seen(tables, event, Some(viewer));
        Ok(seats.zip(seen).map(|(seats, seen)| LockedEvent { seen, seats }))
    }

    fn insert_event(&mut self, event: &Event, organizer: UserId) {
        let event = event.clone();
        self.write(move |tables| {
            let tables = tables.events_mut();
            tables.organizers.insert((event.id, organizer));
            tables.events.insert(event.id, event);
            Ok(())
        });
    }

    fn update_event(&mut self, event: &Event) {
        let event = event.clone();
        self.write(move |tables| {
            tables.events_mut().events.insert(event.id, event);
            Ok(())
        });
    }
}

#[async_trait]
impl<T: HasEvents> EventReads for FakeStore<T> {
    async fn event(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<SeenEvent>, StoreError> {
        Ok(seen(&*self.tables().await?, event, viewer))
    }

    async fn events(
        &self,
        events: &[EventId],
        viewer: Option<UserId>,
    ) -> Result<Vec<SeenEvent>, StoreError> {
        let tables = self.tables().await?;
        Ok(events.iter().filter_map(|event| seen(&*tables, *event, viewer)).collect())
    }

    async fn of_community(
        &self,
        community: CommunityId,
        unpublished: Unpublished,
        query: PageQuery,
    ) -> Result<Page<Event>, StoreError> {
        let tables = self.tables().await?;
        let is_listed = |event: &Event| {
            let organized = |user| tables.events().organizers.contains(&(event.id, user));
            event.community == community
                && (event.published_at.is_some()
                    || match unpublished {
                        Unpublished::Hidden => false,
                        Unpublished::OrganizedBy(user) => organized(user),
                        Unpublished::Listed => true,
                    })
        };
        let ids = tables.events().events.keys();
        let listed =
            ids.filter_map(|id| sized(&*tables, *id)).filter(|event| is_listed(event)).collect();
        Ok(page(listed, Order::OldestFirst, query, |event| PageKey {
            sort: event.schedule.starts_at().as_microsecond(),
            id: event.id.uuid(),
        }))
    }
}

#[async_trait]
impl<T: HasEvents> Begin<dyn EventTx> for FakeStore<T> {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn EventTx>, StoreError> {
        Ok(Box::new(self.unit(claims)?))
    }
}

fn standing<T: HasCommunities>(
    tables: &T,
    community: &CommunityRef,
    viewer: Option<UserId>,
) -> Option<CommunityStanding> {
    let tables = tables.communities();
    let community = tables.find(community)?;
    let membership = viewer.and_then(|viewer| tables.membership(community.id, viewer));
    Some(CommunityStanding {
        id: community.id,
        visibility: community.visibility,
        archived: community.archived_at.is_some(),
        role: membership.map(|member| member.role),
    })
}

fn seen<T: HasEvents>(tables: &T, event: EventId, viewer: Option<UserId>) -> Option<SeenEvent> {
    let event = sized(tables, event)?;
    let organizers = &tables.events().organizers;
    Some(SeenEvent {
        community: standing(tables, &event.community.into(), viewer)?,
        organizes: viewer.is_some_and(|viewer| organizers.contains(&(event.id, viewer))),
        event,
    })
}

/// An event with its present capacity.
fn sized<T: HasEvents>(tables: &T, event: EventId) -> Option<Event> {
    let capacity = tables.seating().0.get(&event)?.capacity.and_then(Capacity::new);
    Some(Event { capacity, ..tables.events().events.get(&event)?.clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::community::NAMES;
    use crate::contract::event::Ports;
    use crate::fake::World;

    async fn ports() -> (Ports, ()) {
        let store = FakeStore::<World>::default();
        let mut people = Vec::new();
        for (number, name) in (1..).zip(NAMES) {
            people.push(store.person(number, name).await.user());
        }
        let people = people.try_into().expect("there are three");
        let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
        (Ports { uow, reads, communities: Arc::new(store), people }, ())
    }

    crate::event_contract!(ports());
}
