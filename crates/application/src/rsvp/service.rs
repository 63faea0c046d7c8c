//! The use cases of RSVPs.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::ids::{EventId, UserId};
use convene_domain::rsvp::{
    Admission, Ask, Cause, Closed, EventLine, FactKind, PartySize, Refusal, Request, Seats, Status,
};
use jiff::Timestamp;

use super::events;
use super::jobs::{MailCancelled, MailPromoted};
use super::lane::{Answer, Decide, LaneOptions, Lanes, Wish};
use super::ports::{EventFacts, Opened, RsvpReads, RsvpTx, RsvpView, Seen};
use crate::kernel::authz::{Action, Standing};
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Checked, Code, Failure};
use crate::kernel::idempotency::{Claimed, Idempotency, Reply};
use crate::kernel::jobs::{Fence, NewJob};
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::retry::retrying;
use crate::kernel::store::StoreError;
use crate::kernel::uow::{self, Staged, Uow};

/// The use cases of RSVPs. Cheap to clone.
#[derive(Clone)]
pub struct RsvpService {
    desk: Desk,
    lanes: Arc<Lanes<Desk>>,
}

/// What the lanes and the jobs share: the units of work over one event's line.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) env: Env,
    pub(super) uow: Uow<dyn RsvpTx>,
    pub(super) reads: Arc<dyn RsvpReads>,
}

/// An event's seats as they are shown. The counts change with every RSVP, so they are no part of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Availability {
    /// How many seats there are; none means without limit.
    pub capacity: Option<u32>,
    /// Seats held by confirmed parties.
    pub seats_taken: u32,
    /// Seats that nobody holds; none means without limit.
    pub seats_left: Option<u32>,
    /// Parties that wait.
    pub waitlist_length: u32,
}

impl RsvpService {
    /// The service over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn RsvpTx>,
        reads: Arc<dyn RsvpReads>,
        lanes: LaneOptions,
    ) -> Self {
        let desk = Desk { env, uow, reads };
        Self { lanes: Arc::new(Lanes::new(lanes, desk.clone())), desk }
    }

    /// Comes to an event with a party, or changes the party. The answer tells whether an RSVP was made.
    ///
    /// # Errors
    /// `not_found`, `membership_required`, the input's own mistakes, `community_archived`, `rsvp_closed`,
    /// `not_enough_seats`, `overloaded`.
    pub async fn attend(
        &self,
        context: RequestContext,
        principal: Principal,
        event: EventId,
        party: Checked<PartySize>,
        idempotency: Option<Idempotency<Admission>>,
    ) -> Answer {
        let party = match party {
            Ok(party) => party,
            Err(mistake) => {
                // The key comes before the body.
                let mistake = match idempotency.map(|key| key.claim) {
                    Some(Err(invalid)) => invalid,
                    _ => mistake,
                };
                return Err(self.refuse_input(event, principal.user, mistake).await);
            }
        };
        let new_id = self.desk.env.id(self.desk.env.now());
        let ask = Ask::Attend { party, new_id };
        self.lanes.submit(event, Wish { context, principal, ask, idempotency }).await
    }

    /// Comes no more. Withdrawing what is withdrawn changes nothing.
    ///
    /// # Errors
    /// `not_found`, `community_archived`, `rsvp_closed` once the event has ended, `overloaded`.
    pub async fn withdraw(
        &self,
        context: RequestContext,
        principal: Principal,
        event: EventId,
        idempotency: Option<Idempotency<Admission>>,
    ) -> Answer {
        let wish = Wish { context, principal, ask: Ask::Withdraw, idempotency };
        self.lanes.submit(event, wish).await
    }

    /// One's last RSVP to an event.
    ///
    /// # Errors
    /// `not_found` if the event is invisible or the person never had one.
    pub async fn mine(&self, principal: Principal, event: EventId) -> Result<RsvpView, Failure> {
        match self.desk.reads.last_of(event, principal.user).await? {
            Some((seen, Some(rsvp))) if seen.is_visible() => Ok(rsvp),
            _ => Err(Failure::not_found()),
        }
    }

    /// How many seats an event has left.
    ///
    /// # Errors
    /// `not_found` if the event is invisible.
    pub async fn availability(
        &self,
        viewer: Option<UserId>,
        event: EventId,
    ) -> Result<Availability, Failure> {
        match self.desk.reads.seats(event, viewer).await? {
            Some((seen, seats)) if seen.is_visible() => Ok(seats.into()),
            _ => Err(Failure::not_found()),
        }
    }

    /// How many seats each of these events has left, without those that the viewer may not see.
    ///
    /// # Errors
    /// The store's.
    pub async fn availability_of(
        &self,
        viewer: Option<UserId>,
        events: &[EventId],
    ) -> Result<HashMap<EventId, Availability>, Failure> {
        let seats = self.desk.reads.seats_of(events, viewer).await?;
        let visible = seats.into_iter().filter(|(_, seen, _)| seen.is_visible());
        Ok(visible.map(|(event, _, seats)| (event, seats.into())).collect())
    }

    /// One's last RSVP to each of these events, where there is one. For events that the person is known to see.
    ///
    /// # Errors
    /// The store's.
    pub async fn mine_of(
        &self,
        principal: Principal,
        events: &[EventId],
    ) -> Result<HashMap<EventId, RsvpView>, Failure> {
        let mine = self.desk.reads.last_to_each(events, principal.user).await?;
        Ok(mine.into_iter().map(|view| (view.rsvp.event, view)).collect())
    }

    /// The RSVPs of an event, by creation: of one status, or all that are active.
    ///
    /// # Errors
    /// `not_found`, `forbidden` for all but organisers, admins and the owner, mistakes of the query.
    pub async fn of_event(
        &self,
        principal: Principal,
        event: EventId,
        query: Checked<(Option<Status>, PageQuery)>,
    ) -> Result<Page<RsvpView>, Failure> {
        self.visible(event, principal.user).await?.standing.require(Action::ReadRsvps)?;
        let (status, query) = query?;
        Ok(self.desk.reads.of_event(event, status, query).await?)
    }

    /// One's own RSVPs, newest first.
    ///
    /// # Errors
    /// Mistakes of the query.
    pub async fn of_user(
        &self,
        principal: Principal,
        query: Checked<PageQuery>,
    ) -> Result<Page<RsvpView>, Failure> {
        Ok(self.desk.reads.of_user(principal.user, query?).await?)
    }

    /// The units of work that the jobs of this module share with the lanes.
    pub(super) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    async fn visible(&self, event: EventId, viewer: UserId) -> Result<Seen, Failure> {
        self.desk
            .reads
            .event(event, Some(viewer))
            .await?
            .filter(Seen::is_visible)
            .ok_or_else(Failure::not_found)
    }

    /// What the caller is told about bad input: whoever may not see the event, or is no member, hears of that first.
    async fn refuse_input(&self, event: EventId, user: UserId, mistake: Failure) -> Failure {
        match self.visible(event, user).await {
            Err(failure) => failure,
            Ok(seen) => seen.standing.require(Action::Attend).err().unwrap_or(mistake),
        }
    }
}

#[async_trait]
impl Decide for Desk {
    async fn decide(&self, event: EventId, wishes: &[Wish]) -> Vec<Answer> {
        retrying(&*self.env.random, || self.decide_once(event, wishes))
            .await
            .unwrap_or_else(|error| fail_all(wishes.len(), error))
    }
}

impl Desk {
    /// Decides a batch in one unit of work. An error means that none of it happened.
    async fn decide_once(
        &self,
        event: EventId,
        wishes: &[Wish],
    ) -> Result<Vec<Answer>, StoreError> {
        let claims: Vec<_> =
            wishes.iter().flat_map(|wish| uow::claims(wish.idempotency.as_ref())).collect();
        let users: Vec<UserId> = wishes.iter().map(|wish| wish.principal.user).collect();
        let mut tx = self.uow.begin(claims).await?;
        let opened = tx.open(event, &users, 0).await?;
        let mut claimed = tx.claimed().into_iter();
        let Some(opened) = opened else {
            return Ok(wishes.iter().map(|_| Err(Failure::not_found())).collect());
        };

        let now = self.env.now();
        let (facts, standings) = (opened.event.clone(), opened.standings.clone());
        let mut line = line(event, opened);
        let mut answers = Vec::with_capacity(wishes.len());
        for (wish, standing) in wishes.iter().zip(standings) {
            let claim = match &wish.idempotency {
                None => Ok(None),
                Some(Idempotency { claim: Ok(_), .. }) => Ok(claimed.next()),
                Some(Idempotency { claim: Err(refused), .. }) => Err(refused.clone()),
            };
            let before = line.facts().len();
            let answer = settle(&mut line, wish, &facts, standing, claim, now);
            if let Ok(Reply::Fresh(admission)) = &answer {
                self.stage(tx.staged(), wish, event, &facts, &line, before, now);
                tx.staged().reply(wish.idempotency.as_ref(), admission);
            }
            answers.push(answer);
        }
        let changed: Vec<_> = line.changed().cloned().collect();
        if changed.is_empty() && tx.staged().replies.is_empty() {
            return Ok(answers);
        }
        if !changed.is_empty() {
            tx.save(event, line.seats(), changed);
        }
        tx.commit().await?;
        Ok(answers)
    }

    /// Stages what one wish caused: its events, the mail to people it moved up, and its audit entry.
    fn stage(
        &self,
        staged: &mut Staged,
        wish: &Wish,
        event: EventId,
        facts: &EventFacts,
        line: &EventLine,
        since: usize,
        now: Timestamp,
    ) {
        let caused = &line.facts()[since..];
        self.record(staged, &wish.context, event, facts, caused, now);
        if let Some(own) = caused.first() {
            let action = match wish.ask {
                Ask::Attend { .. } => "rsvp.attend",
                Ask::Withdraw => "rsvp.withdraw",
            };
            let changed = serde_json::json!({ "party_size": own.party.get() });
            staged.audit(&wish.context, Some(facts.community), action, own.rsvp, changed);
        }
    }

    /// Stages events for facts, and mail to those who are promoted, or whose event was cancelled.
    pub(super) fn record(
        &self,
        staged: &mut Staged,
        context: &RequestContext,
        event: EventId,
        facts: &EventFacts,
        caused: &[convene_domain::rsvp::Fact],
        now: Timestamp,
    ) {
        let recorder = self.env.recorder(context, now, Some(facts.community));
        for fact in caused {
            staged.events.push(events::of_fact(&recorder, facts.community, event, fact));
            let (rsvp, user, party_size) = (fact.rsvp, fact.user, fact.party.get());
            match (fact.kind, fact.cause) {
                (FactKind::Confirmed, Cause::Waitlist) => {
                    let mail = NewJob::new(&MailPromoted { rsvp, event, user, party_size });
                    staged.jobs.push(mail.caused_by(context));
                }
                (FactKind::Cancelled, Cause::EventCancelled) => {
                    let mail = NewJob::new(&MailCancelled { rsvp, event, user });
                    staged.jobs.push(mail.caused_by(context));
                }
                _ => {}
            }
        }
    }

    /// Changes an event's line as a job: `act` under the lock, then everything with the job's fence. The audit log gets one
    /// entry for all of it.
    pub(super) async fn rework(
        &self,
        context: &RequestContext,
        action: &'static str,
        event: EventId,
        users: &[UserId],
        promote: u32,
        fence: Option<Fence>,
        act: impl FnOnce(&mut EventLine, Timestamp) + Send,
    ) -> Result<usize, StoreError> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        let Some(opened) = tx.open(event, users, promote).await? else { return Ok(0) };
        let now = self.env.now();
        let facts = opened.event.clone();
        let mut line = line(event, opened);
        act(&mut line, now);
        let changed: Vec<_> = line.changed().cloned().collect();
        let count = changed.len();
        if count > 0 {
            self.record(tx.staged(), context, event, &facts, line.facts(), now);
            let told = serde_json::json!({ "rsvps": count });
            tx.staged().audit(context, Some(facts.community), action, event, told);
            tx.save(event, line.seats(), changed);
            if let Some(fence) = fence {
                tx.fence(fence, false);
            }
            tx.commit().await?;
        }
        Ok(count)
    }
}

fn line(event: EventId, opened: Opened) -> EventLine {
    EventLine::new(event, opened.event.rules, opened.seats, opened.requesters, opened.front)
}

/// One wish: visibility, permission, a reply from before, and only then the state.
fn settle(
    line: &mut EventLine,
    wish: &Wish,
    facts: &EventFacts,
    standing: Standing,
    claim: Checked<Option<Claimed>>,
    now: Timestamp,
) -> Answer {
    if !facts.is_visible_to(standing) {
        return Err(Failure::not_found());
    }
    let member = standing.role.is_some();
    standing.require(match wish.ask {
        Ask::Attend { .. } => Action::Attend,
        Ask::Withdraw => Action::Withdraw,
    })?;
    if let Some(reply) = claim?.map_or(Ok(None), Claimed::proceed)? {
        return Ok(Reply::Replayed(reply));
    }
    let request = Request { user: wish.principal.user, member, ask: wish.ask };
    line.decide(&request, now).map(Reply::Fresh).map_err(refusal)
}

fn refusal(refusal: Refusal) -> Failure {
    let code = match refusal {
        Refusal::NoRsvp => return Failure::not_found(),
        Refusal::MembershipRequired => Code::MembershipRequired,
        Refusal::Closed(Closed::CommunityArchived) => Code::CommunityArchived,
        Refusal::Closed(_) => Code::RsvpClosed,
        Refusal::NotEnoughSeats => Code::NotEnoughSeats,
    };
    Failure::new(code, sentence(&refusal.to_string()))
}

/// A rule's message as a sentence.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).chain(std::iter::once('.')).collect()
    })
}

/// The same failure for everybody in the batch; the cause is logged once, with the first.
fn fail_all(count: usize, error: StoreError) -> Vec<Answer> {
    let first = Failure::from(error);
    let others = Failure { source: None, ..first.clone() };
    let others = std::iter::repeat_n(others, count.saturating_sub(1));
    std::iter::once(first).chain(others).map(Err).collect()
}

impl From<Seats> for Availability {
    fn from(seats: Seats) -> Self {
        Self {
            capacity: seats.capacity,
            seats_taken: seats.taken,
            seats_left: seats.left(),
            waitlist_length: seats.waiting,
        }
    }
}
