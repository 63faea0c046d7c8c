use uuid::Uuid;

use super::*;
use crate::ids::TypedId as _;
use crate::zone::TimeZoneName;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn new_event() -> NewEvent {
    NewEvent {
        title: Title::new("Spring Hack Day").unwrap(),
        description: None,
        plan: Plan {
            starts_at_local: LocalTime::parse("2027-05-01T18:00").unwrap(),
            ends_at_local: LocalTime::parse("2027-05-01T22:00").unwrap(),
            time_zone: TimeZoneName::new("Europe/Berlin").unwrap(),
            fold: None,
        },
        rsvp_opens_at: None,
        rsvp_closes_at: None,
        capacity: Capacity::new(40),
    }
}

fn draft() -> Event {
    let (id, community) =
        (EventId::from_uuid(Uuid::from_u128(1)), CommunityId::from_uuid(Uuid::from_u128(2)));
    Event::draft(id, community, new_event(), at(10)).unwrap()
}

fn revise(event: &Event, patch: EventPatch, taken: u32) -> Result<Option<Revision>, Refusal> {
    event.revised(event.amended(patch).unwrap(), taken, at(20))
}

#[test]
fn capacities_have_bounds() {
    for (seats, fits) in [(0, false), (1, true), (1_000_000, true), (1_000_001, false)] {
        assert_eq!(Capacity::new(seats).is_some(), fits, "{seats}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut new = new_event();
    new.plan.starts_at_local = LocalTime::parse("2027-03-28T02:30").unwrap();
    new.plan.ends_at_local = LocalTime::parse("2027-10-31T02:30").unwrap();
    (new.rsvp_opens_at, new.rsvp_closes_at) = (Some(at(5)), Some(at(5)));
    let id = EventId::from_uuid(Uuid::nil());
    let community = CommunityId::from_uuid(Uuid::nil());
    assert_eq!(
        Event::draft(id, community, new, at(10)),
        Err(vec![
            Mistake::Schedule(ScheduleError::Nonexistent(Edge::Start)),
            Mistake::Schedule(ScheduleError::Ambiguous(Edge::End)),
            Mistake::Window(EmptyWindow),
        ])
    );
}

#[test]
fn a_change_of_title_and_capacity_makes_two_versions() {
    let patch = EventPatch {
        title: Some(Title::new("Spring Hack Night").unwrap()),
        capacity: Some(Capacity::new(60)),
        ..EventPatch::default()
    };
    let revision = revise(&draft(), patch.clone(), 0).unwrap().unwrap();
    assert_eq!((revision.updated, revision.capacity_changed), (Some(2), Some(3)));
    assert_eq!((revision.event.version, revision.event.updated_at), (3, at(20)));
    assert!(revision.event.holds_more_than(&draft()));
    assert_eq!(revise(&revision.event, patch, 0), Ok(None));
}

#[test]
fn another_zone_moves_the_instants_and_keeps_the_clock() {
    let patch = EventPatch {
        time_zone: Some(TimeZoneName::new("America/New_York").unwrap()),
        ..EventPatch::default()
    };
    let revision = revise(&draft(), patch, 0).unwrap().unwrap();
    assert_eq!((revision.updated, revision.capacity_changed), (Some(2), None));
    let schedule = &revision.event.schedule;
    assert_eq!(schedule.plan().starts_at_local.to_string(), "2027-05-01T18:00:00");
    assert_eq!(schedule.starts_at().to_string(), "2027-05-01T22:00:00Z");
}

#[test]
fn the_capacity_never_falls_below_the_seats_that_are_taken() {
    let to = |capacity| EventPatch { capacity: Some(capacity), ..EventPatch::default() };
    let event = draft();
    assert_eq!(
        revise(&event, to(Capacity::new(29)), 30),
        Err(Refusal::CapacityBelowTaken { taken: 30 })
    );
    let lowered = revise(&event, to(Capacity::new(30)), 30).unwrap().unwrap().event;
    assert!(!lowered.holds_more_than(&event));
    let unlimited = revise(&event, to(None), 30).unwrap().unwrap().event;
    assert!(unlimited.holds_more_than(&event));
    assert!(!event.holds_more_than(&unlimited));
}

#[test]
fn a_cancelled_event_changes_no_more() {
    let cancelled = draft().cancelled(at(20)).unwrap();
    assert_eq!((cancelled.version, cancelled.published_at), (2, None));
    let refused = Refusal::Transition(InvalidTransition::Cancelled);
    assert_eq!(revise(&cancelled, EventPatch::default(), 0), Err(refused));
    assert_eq!(cancelled.cancelled(at(30)), Err(InvalidTransition::Cancelled));
    assert_eq!(cancelled.published(at(30)), Err(InvalidTransition::Cancelled));
}

#[test]
fn publishing_happens_once() {
    let published = draft().published(at(20)).unwrap();
    assert_eq!((published.status, published.published_at), (Status::Published, Some(at(20))));
    assert_eq!(published.published(at(30)), Err(InvalidTransition::NotADraft));
}
