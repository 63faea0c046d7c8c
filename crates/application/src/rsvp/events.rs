//! What this module records: the domain's facts as the events that other services read.

use convene_contracts::Change;
use convene_contracts::rsvp::{
    PartySizeChange, RsvpCancelled, RsvpCause, RsvpConfirmed, RsvpFacts, RsvpPartyChanged,
    RsvpWaitlisted,
};
use convene_domain::ids::{CommunityId, EventId};
use convene_domain::rsvp::{Cause, Fact, FactKind};

use crate::kernel::events::{NewEvent, Recorder, public};

/// The event of one fact.
pub(super) fn of_fact(
    recorder: &Recorder<'_>,
    community: CommunityId,
    event: EventId,
    fact: &Fact,
) -> NewEvent {
    let rsvp = RsvpFacts {
        community_id: public(community),
        event_id: public(event),
        user_id: public(fact.user),
        rsvp_id: public(fact.rsvp),
        party_size: fact.party.get(),
        seats_left: fact.seats_left,
        cause: cause(fact.cause),
    };
    let (subject, version) = (fact.rsvp, fact.version);
    match fact.kind {
        FactKind::Confirmed => recorder.event(subject, version, RsvpConfirmed { rsvp }),
        FactKind::Waitlisted { number } => {
            recorder.event(subject, version, RsvpWaitlisted { rsvp, waitlist_seq: number })
        }
        FactKind::PartyChanged { old } => {
            let party_size = Change { old: old.get(), new: fact.party.get() };
            let changed = PartySizeChange { party_size };
            recorder.event(subject, version, RsvpPartyChanged { rsvp, changed })
        }
        FactKind::Cancelled => recorder.event(subject, version, RsvpCancelled { rsvp }),
    }
}

fn cause(cause: Cause) -> RsvpCause {
    match cause {
        Cause::Direct => RsvpCause::Direct,
        Cause::Waitlist => RsvpCause::Waitlist,
        Cause::Withdrawn => RsvpCause::Withdrawn,
        Cause::EventCancelled => RsvpCause::EventCancelled,
        Cause::MemberLeft => RsvpCause::MemberLeft,
    }
}
