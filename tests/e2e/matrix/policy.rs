//! The matrix against the policy: who is granted an action is not refused, and nobody else is served.

use convene_application::kernel::authz::{Standing, Who};
use convene_domain::ids::{CommunityId, TypedId as _};
use convene_domain::role::Role;
use convene_http::permissions::actions_of;
use convene_tests::openapi::{Access, Operation};
use convene_tests::scene::{Actor, Venue};

use super::Line;

/// Operations on what the caller may not have: 404 says so, and not that something is hidden.
const ON_ONES_OWN: [&str; 2] = ["get_my_rsvp", "cancel_my_rsvp"];

/// What the policy has to say about a call, before its input and the state of things.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    LogIn,
    Absent,
    Refused,
    Granted,
}

pub(super) fn agrees(lines: &[Line]) {
    for line in lines {
        for (actor, answer) in &line.answers {
            let expected = foreseen(&line.operation, line.venue, *actor);
            let status = answer.status;
            let own = ON_ONES_OWN.contains(&line.operation.id.as_str());
            let fits = match expected {
                Answer::LogIn => status == 401,
                Answer::Absent => status == 404,
                Answer::Refused => status == 403,
                Answer::Granted => ![401, 403].contains(&status) && (status != 404 || own),
            };
            let (label, venue) = (line.operation.label(), line.venue);
            assert!(
                fits,
                "{label} {venue:?} by {}: the policy says {expected:?}, {status}",
                actor.name()
            );
        }
    }
}

fn foreseen(operation: &Operation, venue: Option<Venue>, actor: Actor) -> Answer {
    if actor == Actor::Anonymous && operation.access == Access::Required {
        return Answer::LogIn;
    }
    let standing = standing(actor);
    let private = venue == Some(Venue::Private);
    let is_in = |name: &str| operation.segments.iter().any(|segment| segment == name);
    let seen = if is_in("event") {
        standing.sees_event(private, venue != Some(Venue::Draft))
    } else if is_in("community") {
        standing.sees_community(private, venue == Some(Venue::Archived))
    } else {
        true
    };
    let granted = actions_of(&operation.id).iter().any(|action| match actor {
        Actor::Anonymous => action.rule().allows(Who::Anonymous),
        _ => standing.may(*action),
    });
    match (seen, granted) {
        (false, _) => Answer::Absent,
        (true, false) => Answer::Refused,
        (true, true) => Answer::Granted,
    }
}

/// Who somebody of the cast is to every place.
fn standing(actor: Actor) -> Standing {
    let role = match actor {
        Actor::Anonymous | Actor::Stranger | Actor::ForeignOwner | Actor::PlatformAdmin => None,
        Actor::Member => Some(Role::Member),
        Actor::Organizer | Actor::Host => Some(Role::Organizer),
        Actor::Admin => Some(Role::Admin),
        Actor::Owner => Some(Role::Owner),
    };
    Standing {
        community: CommunityId::from_uuid(uuid::Uuid::nil()),
        event: None,
        role,
        organizes_event: actor == Actor::Host,
    }
}
