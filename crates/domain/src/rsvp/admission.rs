//! Who gets a seat: the one function that decides over an event's seats and its line.
//!
//! The caller holds the lock on the event's seats, loads what [`EventLine::new`] asks for, passes the requests in the
//! order of their arrival, and stores what changed. Everything is decided here:
//!
//! - seats taken never exceed the capacity;
//! - a party is all or nothing, and a newcomer never passes anyone who waits;
//! - the head of the line is strict: if its party does not fit, nobody behind it is promoted;
//! - freed seats go to the line before the next request is looked at.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::{Admissibility, Closed, PartySize, Rsvp, Status};
use crate::ids::{EventId, RsvpId, UserId};

/// The counters of an event's seats, as its locked row holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats {
    /// How many seats there are; none means without limit.
    pub capacity: Option<u32>,
    /// Seats held by confirmed parties.
    pub taken: u32,
    /// Parties in the line.
    pub waiting: u32,
    /// The number that the next party in the line gets.
    pub next_number: i64,
}

impl Seats {
    /// Seats that nobody holds; none means without limit.
    #[must_use]
    pub fn left(&self) -> Option<u32> {
        self.capacity.map(|capacity| capacity.saturating_sub(self.taken))
    }

    fn has_room_for(&self, people: u32) -> bool {
        self.left().is_none_or(|left| people <= left)
    }

    fn could_ever_seat(&self, party: PartySize) -> bool {
        self.capacity.is_none_or(|capacity| party.get() <= capacity)
    }
}

/// One person's wish, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub user: UserId,
    /// Whether the person is a member of the community now, under lock.
    pub member: bool,
    /// What is asked for.
    pub ask: Ask,
}

/// What a person can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Come with so many people; a person without an active RSVP gets one with this new id.
    Attend {
        /// How many come.
        party: PartySize,
        /// The identity of the RSVP, should a new one be made.
        new_id: RsvpId,
    },
    /// Come no more.
    Withdraw,
}

/// Why something about an RSVP happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The person asked for it.
    Direct,
    /// Seats became free for the head of the line.
    Waitlist,
    /// The person withdrew.
    Withdrawn,
    /// The event was cancelled.
    EventCancelled,
    /// The person left the community.
    MemberLeft,
}

impl Cause {
    /// The stable name of the cause.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Waitlist => "waitlist",
            Self::Withdrawn => "withdrawn",
            Self::EventCancelled => "event_cancelled",
            Self::MemberLeft => "member_left",
        }
    }
}

/// Something that happened to an RSVP, to be recorded in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What happened.
    pub kind: FactKind,
    /// The RSVP.
    pub rsvp: RsvpId,
    /// Whose RSVP it is.
    pub user: UserId,
    /// The RSVP's version with this fact, gapless from 1.
    pub version: i32,
    /// The party after the fact.
    pub party: PartySize,
    /// Seats left at the event after the fact; none means without limit.
    pub seats_left: Option<u32>,
    /// Why it happened.
    pub cause: Cause,
}

/// What can happen to an RSVP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// The party got its seats.
    Confirmed,
    /// The party joined the line under this number.
    Waitlisted {
        /// Its number in the line.
        number: i64,
    },
    /// The party changed its size.
    PartyChanged {
        /// Its size before.
        old: PartySize,
    },
    /// The RSVP ended.
    Cancelled,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The RSVP after the request.
    pub rsvp: Rsvp,
    /// Whether the request made it.
    pub created: bool,
    /// Its place in the line, from 1, counted in parties; none unless it waits.
    pub position: Option<u32>,
}

/// Why a request changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only members of the community may have an RSVP.
    #[error("only members of the community can RSVP")]
    MembershipRequired,
    /// The event takes no RSVPs now.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The party can never be seated, or a confirmed party cannot grow.
    #[error("there are not enough seats for this party")]
    NotEnoughSeats,
    /// There is no RSVP to withdraw.
    #[error("there is no RSVP")]
    NoRsvp,
}

/// An event's seats with as much of its line as the requests at hand can touch.
#[derive(Debug)]
pub struct EventLine {
    event: EventId,
    rules: Admissibility,
    seats: Seats,
    rsvps: HashMap<RsvpId, Rsvp>,
    /// The last RSVP of each person, whatever its status.
    latest: HashMap<UserId, RsvpId>,
    /// The front of the line by number.
    front: BTreeMap<i64, RsvpId>,
    /// Parties ahead of a waiting RSVP when it was loaded.
    ahead: HashMap<RsvpId, u32>,
    /// Numbers that left the line since it was loaded.
    departed: Vec<i64>,
    changed: Vec<RsvpId>,
    facts: Vec<Fact>,
}

impl EventLine {
    /// Takes what was loaded under the event's lock.
    ///
    /// `requesters` holds the last RSVP of each person who asks, with the number of parties ahead of it if it waits.
    /// `front` holds the first waiting RSVPs by number: at least as many as the requesters' active seats and RSVPs
    /// together, since no more than that can be promoted.
    #[must_use]
    pub fn new(
        event: EventId,
        rules: Admissibility,
        seats: Seats,
        requesters: Vec<(Rsvp, u32)>,
        front: Vec<Rsvp>,
    ) -> Self {
        let mut line = Self {
            event,
            rules,
            seats,
            rsvps: HashMap::with_capacity(requesters.len() + front.len()),
            latest: HashMap::with_capacity(requesters.len()),
            front: BTreeMap::new(),
            ahead: HashMap::new(),
            departed: Vec::new(),
            changed: Vec::new(),
            facts: Vec::new(),
        };
        for rsvp in front {
            if let Some(number) = rsvp.waitlist_number {
                line.front.insert(number, rsvp.id);
                line.latest.insert(rsvp.user, rsvp.id);
                line.rsvps.insert(rsvp.id, rsvp);
            }
        }
        for (rsvp, ahead) in requesters {
            line.latest.insert(rsvp.user, rsvp.id);
            line.ahead.insert(rsvp.id, ahead);
            line.rsvps.insert(rsvp.id, rsvp);
        }
        line
    }

    /// Decides one request. Requests are decided one after another; each sees what those before it did.
    ///
    /// # Errors
    /// Why the request changed nothing.
    pub fn decide(&mut self, request: &Request, now: Timestamp) -> Result<Admission, Refusal> {
        match request.ask {
            Ask::Attend { party, new_id } => {
                if !request.member {
                    return Err(Refusal::MembershipRequired);
                }
                self.rules.may_claim(now)?;
                if !self.seats.could_ever_seat(party) {
                    return Err(Refusal::NotEnoughSeats);
                }
                match self.active(request.user) {
                    None => Ok(self.join(request.user, party, new_id, now)),
                    Some(id) => self.resize(id, party, now),
                }
            }
            Ask::Withdraw => {
                let id = *self.latest.get(&request.user).ok_or(Refusal::NoRsvp)?;
                if self.active(request.user).is_some() {
                    self.rules.may_withdraw(now)?;
                    self.cancel(id, Cause::Withdrawn, now);
                    self.promote(now);
                }
                Ok(self.admission(id, false))
            }
        }
    }

    /// Ends active RSVPs of the requesters for a reason that is not their wish, and gives the seats to the line if the
    /// event is still going to happen.
    pub fn release(&mut self, users: &[UserId], cause: Cause, now: Timestamp) {
        for user in users {
            if let Some(id) = self.active(*user) {
                self.cancel(id, cause, now);
            }
        }
        self.promote(now);
    }

    /// Gives free seats to the front of the line, strictly in order.
    pub fn promote(&mut self, now: Timestamp) {
        if !self.rules.promotes(now) {
            return;
        }
        while let Some((&number, &id)) = self.front.first_key_value() {
            let party = self.rsvps[&id].party;
            if !self.seats.has_room_for(party.get()) {
                return;
            }
            self.leave_line(number);
            self.seats.taken += party.get();
            self.change(id, now, FactKind::Confirmed, Cause::Waitlist, |rsvp| {
                rsvp.status = Status::Confirmed;
                rsvp.waitlist_number = None;
            });
        }
    }

    /// The counters now.
    #[must_use]
    pub fn seats(&self) -> Seats {
        self.seats
    }

    /// The RSVPs that were made or changed, each once, in its final state.
    pub fn changed(&self) -> impl Iterator<Item = &Rsvp> {
        self.changed.iter().map(|id| &self.rsvps[id])
    }

    /// What happened, in order.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    fn active(&self, user: UserId) -> Option<RsvpId> {
        let id = *self.latest.get(&user)?;
        (self.rsvps[&id].status != Status::Cancelled).then_some(id)
    }

    fn join(&mut self, user: UserId, party: PartySize, id: RsvpId, now: Timestamp) -> Admission {
        self.latest.insert(user, id);
        self.rsvps.insert(
            id,
            Rsvp {
                id,
                event: self.event,
                user,
                status: Status::Confirmed,
                party,
                waitlist_number: None,
                version: 0,
                created_at: now,
                updated_at: now,
            },
        );
        if self.seats.waiting == 0 && self.seats.has_room_for(party.get()) {
            self.seats.taken += party.get();
            self.change(id, now, FactKind::Confirmed, Cause::Direct, |_| {});
        } else {
            let number = self.enter_line(id);
            self.change(id, now, FactKind::Waitlisted { number }, Cause::Direct, |rsvp| {
                rsvp.status = Status::Waitlisted;
                rsvp.waitlist_number = Some(number);
            });
        }
        self.admission(id, true)
    }

    fn resize(
        &mut self,
        id: RsvpId,
        party: PartySize,
        now: Timestamp,
    ) -> Result<Admission, Refusal> {
        let Rsvp { status, party: old, .. } = self.rsvps[&id];
        if party != old {
            if status == Status::Confirmed {
                let growth = party.get().saturating_sub(old.get());
                if growth > 0 && (self.seats.waiting > 0 || !self.seats.has_room_for(growth)) {
                    return Err(Refusal::NotEnoughSeats);
                }
                self.seats.taken = self.seats.taken - old.get() + party.get();
            }
            self.change(id, now, FactKind::PartyChanged { old }, Cause::Direct, |rsvp| {
                rsvp.party = party;
            });
            self.promote(now);
        }
        Ok(self.admission(id, false))
    }

    fn cancel(&mut self, id: RsvpId, cause: Cause, now: Timestamp) {
        let rsvp = &self.rsvps[&id];
        match rsvp.waitlist_number {
            Some(number) => self.leave_line(number),
            None => self.seats.taken -= rsvp.party.get(),
        }
        self.change(id, now, FactKind::Cancelled, cause, |rsvp| {
            rsvp.status = Status::Cancelled;
            rsvp.waitlist_number = None;
        });
    }

    fn enter_line(&mut self, id: RsvpId) -> i64 {
        let number = self.seats.next_number;
        // Behind a line that was loaded only in part, a newcomer must not look like its next.
        if self.front.len() == self.seats.waiting as usize {
            self.front.insert(number, id);
        }
        self.ahead.insert(id, self.seats.waiting + self.departed_count());
        self.seats.next_number += 1;
        self.seats.waiting += 1;
        number
    }

    fn leave_line(&mut self, number: i64) {
        self.front.remove(&number);
        self.departed.push(number);
        self.seats.waiting -= 1;
    }

    fn departed_count(&self) -> u32 {
        u32::try_from(self.departed.len()).unwrap_or(u32::MAX)
    }

    fn change(
        &mut self,
        id: RsvpId,
        now: Timestamp,
        kind: FactKind,
        cause: Cause,
        apply: impl FnOnce(&mut Rsvp),
    ) {
        if let Some(rsvp) = self.rsvps.get_mut(&id) {
            apply(rsvp);
            rsvp.version += 1;
            rsvp.updated_at = now;
            self.facts.push(Fact {
                kind,
                rsvp: id,
                user: rsvp.user,
                version: rsvp.version,
                party: rsvp.party,
                seats_left: self.seats.left(),
                cause,
            });
            if !self.changed.contains(&id) {
                self.changed.push(id);
            }
        }
    }

    fn admission(&self, id: RsvpId, created: bool) -> Admission {
        let rsvp = self.rsvps[&id].clone();
        let position = rsvp.waitlist_number.map(|number| {
            let gone = self.departed.iter().filter(|departed| **departed < number).count();
            let ahead = self.ahead.get(&id).copied().unwrap_or(0) as usize;
            u32::try_from(ahead.saturating_sub(gone) + 1).unwrap_or(u32::MAX)
        });
        Admission { rsvp, created, position }
    }
}

#[cfg(test)]
mod tests;
