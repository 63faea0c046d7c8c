//! The use cases of events.

use std::sync::Arc;

use convene_domain::community::CommunityRef;
use convene_domain::event::{Capacity, Event, EventPatch, NewEvent, Revision};
use convene_domain::ids::{EventId, UserId};
use convene_domain::text::Reason;
use jiff::Timestamp;
use serde_json::json;

use super::events;
use super::mistakes::{invalid, invalid_transition, refused};
use super::ports::{EventReads, EventTx, LockedEvent, SeenEvent, Unpublished};
use crate::community::offers::{Communities, CommunityStanding};
use crate::kernel::authz::Action;
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
    communities: Arc<dyn Communities>,
}

impl EventService {
    /// The service over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn EventTx>,
        reads: Arc<dyn EventReads>,
        communities: Arc<dyn Communities>,
    ) -> Self {
        Self { env, uow, reads, communities }
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

    /// An event.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn get(&self, viewer: Option<UserId>, event: EventId) -> Result<Event, Failure> {
        let seen = self.reads.event(event, viewer).await?;
        let seen = seen.filter(SeenEvent::is_visible).ok_or_else(Failure::not_found)?;
        Ok(seen.event)
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
        let found = self.communities.find(community, viewer).await?;
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

/// An event that the viewer may manage.
fn managed(locked: Option<LockedEvent>) -> Result<LockedEvent, Failure> {
    let locked = locked.filter(|locked| locked.seen.is_visible()).ok_or_else(Failure::not_found)?;
    locked.seen.standing().require(Action::ManageEvent)?;
    Ok(locked)
}
