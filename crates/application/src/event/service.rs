//! The use cases of events.

use std::collections::HashMap;
use std::sync::Arc;

use convene_domain::community::CommunityRef;
use convene_domain::event::{Capacity, Event, EventPatch, NewEvent, Revision};
use convene_domain::ids::{EventId, UserId};
use convene_domain::text::Reason;
use jiff::Timestamp;
use serde_json::json;

use super::cached::{CachedEvents, OrganizerKey};
use super::events;
use super::mistakes::{invalid, invalid_transition, refused};
use super::ports::{EventReads, EventTx, LockedEvent, SeenEvent, Unpublished, is_visible};
use crate::community::offers::{CommunityStanding, Standings};
use crate::kernel::authz::Action;
use crate::kernel::cache::{Caches, Held};
use crate::kernel::changes::audited;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Checked, Failure};
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::jobs::NewJob;
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::precondition::IfMatch;
use crate::kernel::retry::retrying;
use crate::kernel::uow::{self, Uow};
use crate::rsvp::offers::{PromoteWaitlist, ReleaseEvent};

/// The use cases of events. Cheap to clone.
#[derive(Clone)]
pub struct EventService {
    env: Env,
    uow: Uow<dyn EventTx>,
    reads: Arc<dyn EventReads>,
    communities: Standings,
    cached: CachedEvents,
}

impl EventService {
    /// The service over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn EventTx>,
        reads: Arc<dyn EventReads>,
        communities: Standings,
        caches: &Caches,
    ) -> Self {
        let cached = CachedEvents::new(Arc::clone(&reads), caches);
        Self { env, uow, reads, communities, cached }
    }

    /// Makes a draft; who makes it is its first organiser.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, the input's own mistakes, `nonexistent_time`, `ambiguous_time`, `community_archived`.
    pub async fn create(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        input: Checked<NewEvent>,
        idempotency: Option<Idempotency<Event>>,
    ) -> Result<Reply<Event>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let held = tx.hold_community(community, principal.user).await?;
            let community =
                held.filter(CommunityStanding::is_visible).ok_or_else(Failure::not_found)?;
            community.standing().require(Action::CreateEvent)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            let now = self.env.now();
            let event = Event::draft(self.env.id(now), community.id, input.clone()?, now)
                .map_err(invalid)?;
            community.ensure_writable()?;

            tx.insert_event(&event, principal.user);
            tx.open_seats(event.id, event.capacity.map(Capacity::get));
            let recorder = self.env.recorder(context, now, Some(event.community));
            let staged = tx.staged();
            staged.events.push(events::created(&recorder, &event));
            let facts = json!({ "title": event.title.as_str() });
            staged.audit(context, Some(event.community), "event.create", event.id, facts);
            staged.reply(idempotency.as_ref(), &event);
            tx.commit().await?;
            Ok(Reply::Fresh(event))
        })
        .await
    }

    /// An event, if that can be told without waiting.
    #[must_use]
    pub fn peek(
        &self,
        viewer: Option<UserId>,
        event: EventId,
    ) -> Option<Result<Arc<Held<Event>>, Failure>> {
        let Some(found) = self.cached.records.peek(&event)? else {
            return Some(Err(Failure::not_found()));
        };
        let Some(community) = self.communities.peek(&found.community.into())? else {
            return Some(Err(Failure::not_found()));
        };
        let everybody = CommunityStanding::of(&community, None);
        if is_visible(&found, &everybody, false) {
            return Some(Ok(found));
        }
        let role = self.communities.peek_role(community.id, viewer)?;
        let organizes = match viewer {
            Some(user) if found.published_at.is_none() => {
                self.cached.organizers.peek(&OrganizerKey { event, user })?.is_some()
            }
            _ => false,
        };
        Some(shown(found, &CommunityStanding { role, ..everybody }, organizes))
    }

    /// An event. While the database is away, what everybody may see is answered as it was known last.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn get(
        &self,
        viewer: Option<UserId>,
        event: EventId,
    ) -> Result<Arc<Held<Event>>, Failure> {
        match self.found(viewer, event).await {
            Err(failure) if failure.is_temporary() => self.last_known(event).ok_or(failure),
            outcome => outcome,
        }
    }

    async fn found(
        &self,
        viewer: Option<UserId>,
        event: EventId,
    ) -> Result<Arc<Held<Event>>, Failure> {
        if !self.communities.are_believed() {
            let seen = self.reads.event(event, viewer).await?;
            let seen = seen.filter(SeenEvent::is_visible).ok_or_else(Failure::not_found)?;
            return Ok(Arc::new(Held::new(seen.event)));
        }
        let found = self.cached.records.get(&event).await?.ok_or_else(Failure::not_found)?;
        let community = self.communities.get(&found.community.into()).await?;
        let community = community.ok_or_else(Failure::not_found)?;
        let everybody = CommunityStanding::of(&community, None);
        if is_visible(&found, &everybody, false) {
            return Ok(found);
        }
        let role = self.communities.role(community.id, viewer).await?;
        let organizes = match viewer {
            Some(user) if found.published_at.is_none() => {
                self.cached.organizers.get(&OrganizerKey { event, user }).await?.is_some()
            }
            _ => false,
        };
        shown(found, &CommunityStanding { role, ..everybody }, organizes)
    }

    /// What everybody could see when the database was asked last.
    fn last_known(&self, event: EventId) -> Option<Arc<Held<Event>>> {
        let found = self.cached.records.last_known(&event)?;
        let community = self.communities.last_known(&found.community.into())?;
        is_visible(&found, &CommunityStanding::of(&community, None), false).then_some(found)
    }

    /// Those of these events that the viewer may see.
    ///
    /// # Errors
    /// The store's.
    pub async fn several(
        &self,
        viewer: Option<UserId>,
        events: &[EventId],
    ) -> Result<HashMap<EventId, Event>, Failure> {
        let found = self.reads.events(events, viewer).await?;
        let visible = found.into_iter().filter(SeenEvent::is_visible);
        Ok(visible.map(|seen| (seen.event.id, seen.event)).collect())
    }

    /// The events of a community, by their start. Drafts are for their organisers, for admins and for the owner.
    ///
    /// # Errors
    /// `not_found`, mistakes of the query.
    pub async fn of_community(
        &self,
        viewer: Option<UserId>,
        community: &CommunityRef,
        query: Checked<PageQuery>,
    ) -> Result<Page<Event>, Failure> {
        let found = self.communities.standing(community, viewer).await?;
        let community =
            found.filter(CommunityStanding::is_visible).ok_or_else(Failure::not_found)?;
        let unpublished = Unpublished::of(&community, viewer);
        Ok(self.reads.of_community(community.id, unpublished, query?).await?)
    }

    /// Changes an event. A change of nothing answers like any other and records nothing.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `precondition_required`, `precondition_failed`, the input's own mistakes,
    /// `nonexistent_time`, `ambiguous_time`, `community_archived`, `invalid_transition` once it is cancelled,
    /// `capacity_below_confirmed`.
    pub async fn update(
        &self,
        context: &RequestContext,
        principal: Principal,
        event: EventId,
        patch: Checked<EventPatch>,
        if_match: &IfMatch<Event>,
        idempotency: Option<Idempotency<Event>>,
    ) -> Result<Reply<Event>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let locked = managed(tx.lock_event(event, principal.user).await?)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            let current = &locked.seen.event;
            if_match.check(current)?;

            let amended = current.amended(patch.clone()?).map_err(invalid)?;
            locked.seen.community.ensure_writable()?;
            let now = self.env.now();
            let revision = current.revised(amended, locked.seats.taken, now).map_err(refused)?;
            if let Some(revision) = &revision {
                self.stage_revision(&mut *tx, context, &locked, revision, now);
            }
            let outcome = revision.map_or(locked.seen.event, |revision| revision.event);
            tx.staged().reply(idempotency.as_ref(), &outcome);
            tx.commit().await?;
            Ok(Reply::Fresh(outcome))
        })
        .await
    }

    /// Announces a draft.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `community_archived`, `invalid_transition`.
    pub async fn publish(
        &self,
        context: &RequestContext,
        principal: Principal,
        event: EventId,
        idempotency: Option<Idempotency<Event>>,
    ) -> Result<Reply<Event>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let locked = managed(tx.lock_event(event, principal.user).await?)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            locked.seen.community.ensure_writable()?;
            let now = self.env.now();
            let published = locked.seen.event.published(now).map_err(invalid_transition)?;

            tx.update_event(&published);
            let recorder = self.env.recorder(context, now, Some(published.community));
            let staged = tx.staged();
            staged.events.push(events::published(&recorder, &published));
            let community = Some(published.community);
            staged.audit(context, community, "event.publish", published.id, json!({}));
            staged.reply(idempotency.as_ref(), &published);
            tx.commit().await?;
            Ok(Reply::Fresh(published))
        })
        .await
    }

    /// Cancels a draft or a published event. Its RSVPs end by a job, which tells each person once.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, the input's own mistakes, `community_archived`, `invalid_transition`.
    pub async fn cancel(
        &self,
        context: &RequestContext,
        principal: Principal,
        event: EventId,
        reason: Checked<Option<Reason>>,
        idempotency: Option<Idempotency<Event>>,
    ) -> Result<Reply<Event>, Failure> {
        retrying(&*self.env.random, || async {
            let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
            let locked = managed(tx.lock_event(event, principal.user).await?)?;
            if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
                return Ok(reply);
            }
            let reason = reason.clone()?;
            locked.seen.community.ensure_writable()?;
            let now = self.env.now();
            let cancelled = locked.seen.event.cancelled(now).map_err(invalid_transition)?;

            tx.update_event(&cancelled);
            let recorder = self.env.recorder(context, now, Some(cancelled.community));
            let staged = tx.staged();
            staged.events.push(events::cancelled(&recorder, &cancelled, reason));
            let community = Some(cancelled.community);
            staged.audit(context, community, "event.cancel", cancelled.id, json!({}));
            if locked.seats.taken > 0 || locked.seats.waiting > 0 {
                let release = NewJob::new(&ReleaseEvent { event: cancelled.id });
                staged.jobs.push(release.unique(cancelled.id).caused_by(context));
            }
            staged.reply(idempotency.as_ref(), &cancelled);
            tx.commit().await?;
            Ok(Reply::Fresh(cancelled))
        })
        .await
    }

    fn stage_revision(
        &self,
        tx: &mut dyn EventTx,
        context: &RequestContext,
        locked: &LockedEvent,
        revision: &Revision,
        now: Timestamp,
    ) {
        let (old, new) = (&locked.seen.event, &revision.event);
        tx.update_event(new);
        if revision.capacity_changed.is_some() {
            tx.change_capacity(new.id, new.capacity.map(Capacity::get));
        }

        let recorder = self.env.recorder(context, now, Some(new.community));
        let staged = tx.staged();
        let changed = events::differences(old, new);
        let mut audit = audited(&changed);
        if let Some(version) = revision.updated {
            staged.events.push(events::updated(&recorder, new, version, changed));
        }
        if let Some(version) = revision.capacity_changed {
            staged.events.push(events::capacity_changed(&recorder, old, new, version));
            let seats = |event: &Event| event.capacity.map(Capacity::get);
            audit["capacity"] = json!({ "old": seats(old), "new": seats(new) });
        }
        staged.audit(context, Some(new.community), "event.update", new.id, audit);
        if new.holds_more_than(old) && locked.seats.waiting > 0 {
            let promote = NewJob::new(&PromoteWaitlist { event: new.id });
            staged.jobs.push(promote.unique(new.id).caused_by(context));
        }
    }
}

fn shown(
    found: Arc<Held<Event>>,
    community: &CommunityStanding,
    organizes: bool,
) -> Result<Arc<Held<Event>>, Failure> {
    if is_visible(&found, community, organizes) { Ok(found) } else { Err(Failure::not_found()) }
}

/// An event that the viewer may manage.
fn managed(locked: Option<LockedEvent>) -> Result<LockedEvent, Failure> {
    let locked = locked.filter(|locked| locked.seen.is_visible()).ok_or_else(Failure::not_found)?;
    locked.seen.standing().require(Action::ManageEvent)?;
    Ok(locked)
}
