use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::TypedId as _;

const NOW: Timestamp = Timestamp::constant(50, 0);

const fn open() -> Admissibility {
    Admissibility {
        status: crate::event::Status::Published,
        starts_at: Timestamp::constant(100, 0),
        ends_at: Timestamp::constant(200, 0),
        opens_at: None,
        closes_at: None,
        community_archived: false,
    }
}

fn id<T: crate::ids::TypedId>(number: u128) -> T {
    T::from_uuid(Uuid::from_u128(number))
}

fn party(people: u32) -> PartySize {
    PartySize::new(people).unwrap()
}

fn empty(capacity: Option<u32>) -> EventLine {
    let seats = Seats { capacity, taken: 0, waiting: 0, next_number: 1 };
    EventLine::new(id(1), open(), seats, vec![], vec![])
}

/// A line with one method a wish; RSVP ids count up from 1,000 × user.
struct Script {
    line: EventLine,
    joined: u128,
}

impl Script {
    fn new(capacity: u32) -> Self {
        Self { line: empty(Some(capacity)), joined: 0 }
    }

    fn attend(&mut self, user: u128, people: u32) -> Result<Admission, Refusal> {
        self.joined += 1;
        let ask = Ask::Attend { party: party(people), new_id: id(user * 1000 + self.joined) };
        self.line.decide(&Request { user: id(user), member: true, ask }, NOW)
    }

    fn withdraw(&mut self, user: u128) -> Result<Admission, Refusal> {
        let request = Request { user: id(user), member: true, ask: Ask::Withdraw };
        self.line.decide(&request, NOW)
    }

    fn kinds(&self) -> Vec<(FactKind, u128, Cause)> {
        self.line.facts().iter().map(|f| (f.kind, f.user.uuid().as_u128(), f.cause)).collect()
    }
}

#[test]
fn fills_the_seats_then_the_line() {
    let mut event = Script::new(3);
    assert_eq!(event.attend(1, 2).unwrap().rsvp.status, Status::Confirmed);
    let second = event.attend(2, 2).unwrap();
    assert_eq!((second.rsvp.status, second.position), (Status::Waitlisted, Some(1)));
    // One seat is free, but somebody waits.
    let third = event.attend(3, 1).unwrap();
    assert_eq!((third.rsvp.status, third.position), (Status::Waitlisted, Some(2)));
    assert_eq!(
        event.line.seats(),
        Seats { capacity: Some(3), taken: 2, waiting: 2, next_number: 3 }
    );
}

#[test]
fn freed_seats_go_to_the_head_of_the_line_at_once() {
    let mut event = Script::new(2);
    event.attend(1, 2).unwrap();
    event.attend(2, 1).unwrap();
    event.attend(3, 1).unwrap();
    event.attend(4, 1).unwrap();
    event.withdraw(1).unwrap();
    assert_eq!(
        event.kinds()[4..],
        [
            (FactKind::Cancelled, 1, Cause::Withdrawn),
            (FactKind::Confirmed, 2, Cause::Waitlist),
            (FactKind::Confirmed, 3, Cause::Waitlist),
        ]
    );
    let seats_left: Vec<_> = event.line.facts()[4..].iter().map(|f| f.seats_left).collect();
    assert_eq!(seats_left, [Some(2), Some(1), Some(0)]);
    // Asking again changes nothing and tells the place that is left.
    assert_eq!(event.attend(4, 1).unwrap().position, Some(1));
}

#[test]
fn a_head_that_does_not_fit_holds_the_line() {
    let mut event = Script::new(3);
    event.attend(1, 1).unwrap();
    event.attend(2, 1).unwrap();
    event.attend(3, 1).unwrap();
    event.attend(4, 3).unwrap();
    event.attend(5, 1).unwrap();
    event.withdraw(1).unwrap();
    assert_eq!(event.line.seats().taken, 2);
    // The head shrinks to what is free and goes in; the one behind it still waits.
    let head = event.attend(4, 1).unwrap();
    assert_eq!((head.rsvp.status, head.rsvp.version), (Status::Confirmed, 3));
    assert_eq!(
        event.line.seats(),
        Seats { capacity: Some(3), taken: 3, waiting: 1, next_number: 3 }
    );
}

#[test]
fn a_confirmed_party_grows_only_into_free_seats_that_nobody_waits_for() {
    let mut event = Script::new(4);
    event.attend(1, 2).unwrap();
    assert_eq!(event.attend(1, 5), Err(Refusal::NotEnoughSeats));
    assert_eq!(event.attend(1, 4).unwrap().rsvp.party, party(4));
    assert_eq!(event.attend(1, 1).unwrap().rsvp.party, party(1));
    event.attend(2, 4).unwrap();
    assert_eq!(event.attend(1, 2), Err(Refusal::NotEnoughSeats));
    assert_eq!(event.line.seats().taken, 1);
}

#[test]
fn a_party_that_never_fits_is_refused_even_from_the_line() {
    let mut event = Script::new(2);
    assert_eq!(event.attend(1, 3), Err(Refusal::NotEnoughSeats));
    event.attend(1, 2).unwrap();
    event.attend(2, 1).unwrap();
    assert_eq!(event.attend(2, 3), Err(Refusal::NotEnoughSeats));
    assert_eq!(event.attend(2, 2).unwrap().position, Some(1));
}

#[test]
fn joining_again_is_a_new_rsvp_at_the_back() {
    let mut event = Script::new(1);
    event.attend(1, 1).unwrap();
    let first = event.attend(2, 1).unwrap();
    event.attend(3, 1).unwrap();
    event.withdraw(2).unwrap();
    assert_eq!(event.withdraw(2).unwrap().rsvp.status, Status::Cancelled);
    let again = event.attend(2, 1).unwrap();
    assert!(again.created);
    assert_ne!(again.rsvp.id, first.rsvp.id);
    assert_eq!(again.position, Some(2));
    assert_eq!(event.line.facts().iter().filter(|f| f.kind == FactKind::Cancelled).count(), 1);
}

#[test]
fn strangers_and_the_unknown_are_refused() {
    let mut line = empty(None);
    let ask = Ask::Attend { party: PartySize::ONE, new_id: id(9) };
    let stranger = Request { user: id(1), member: false, ask };
    assert_eq!(line.decide(&stranger, NOW), Err(Refusal::MembershipRequired));
    let nobody = Request { user: id(1), member: true, ask: Ask::Withdraw };
    assert_eq!(line.decide(&nobody, NOW), Err(Refusal::NoRsvp));
    assert_eq!(line.changed().count(), 0);
}

#[test]
fn a_cancelled_event_releases_without_promoting() {
    let rules = Admissibility { status: crate::event::Status::Cancelled, ..open() };
    let held = |user: u128, status, number| Rsvp {
        id: id(user * 1000),
        event: id(1),
        user: id(user),
        status,
        party: PartySize::ONE,
        waitlist_number: number,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    };
    let seats = Seats { capacity: Some(1), taken: 1, waiting: 1, next_number: 2 };
    let waiting = held(2, Status::Waitlisted, Some(1));
    let mut line = EventLine::new(
        id(1),
        rules,
        seats,
        vec![(held(1, Status::Confirmed, None), 0), (waiting.clone(), 0)],
        vec![waiting],
    );
    line.release(&[id(1)], Cause::EventCancelled, NOW);
    assert_eq!(line.seats(), Seats { capacity: Some(1), taken: 0, waiting: 1, next_number: 2 });
    line.release(&[id(2)], Cause::EventCancelled, NOW);
    assert_eq!(line.seats().waiting, 0);
    assert!(line.facts().iter().all(|f| f.cause == Cause::EventCancelled));
}

#[derive(Clone, Debug)]
enum Step {
    Attend(u128, u32),
    Withdraw(u128),
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u128..12, 1_u32..=4).prop_map(|(user, people)| Step::Attend(user, people)),
        2 => (1_u128..12).prop_map(Step::Withdraw),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..80)
}

/// What the store would hold, fed from `changed` alone.
#[derive(Default)]
struct Stored {
    rsvps: BTreeMap<RsvpId, Rsvp>,
}

impl Stored {
    fn save(&mut self, line: &EventLine) {
        self.rsvps.extend(line.changed().map(|rsvp| (rsvp.id, rsvp.clone())));
    }

    fn waiting(&self) -> Vec<Rsvp> {
        let mut waiting: Vec<_> =
            self.rsvps.values().filter(|r| r.status == Status::Waitlisted).cloned().collect();
        waiting.sort_by_key(|rsvp| rsvp.waitlist_number);
        waiting
    }

    /// Loads a line for these people as the store would: their last RSVP and a front that is just long enough.
    fn load(&self, seats: Seats, users: &[UserId]) -> EventLine {
        let waiting = self.waiting();
        let requesters: Vec<_> = users
            .iter()
            .filter_map(|user| {
                self.rsvps
                    .values()
                    .filter(|r| r.user == *user)
                    .max_by_key(|r| (r.status != Status::Cancelled, r.id))
            })
            .map(|rsvp| {
                let ahead =
                    waiting.iter().filter(|w| w.waitlist_number < rsvp.waitlist_number).count();
                (rsvp.clone(), u32::try_from(ahead).unwrap())
            })
            .collect();
        let bound: usize = requesters
            .iter()
            .filter(|(rsvp, _)| rsvp.status != Status::Cancelled)
            .map(|(rsvp, _)| rsvp.party.get() as usize + 1)
            .sum();
        let front = waiting.into_iter().take(bound).collect();
        EventLine::new(id(1), open(), seats, requesters, front)
    }
}

proptest! {
    /// Whatever people do, and however the work is cut into batches: never oversold, counters equal a recount,
    /// promotions follow the numbers, the head waits only if it does not fit, versions are gapless.
    #[test]
    fn keeps_its_promises(capacity in 1_u32..8, steps in steps()) {
        let mut stored = Stored::default();
        let mut seats = Seats { capacity: Some(capacity), taken: 0, waiting: 0, next_number: 1 };
        let mut versions: HashMap<RsvpId, i32> = HashMap::new();
        let everyone: Vec<UserId> = (1..12).map(id).collect();
        let mut batch = 0_u128;
        let mut rest = steps.as_slice();
        while !rest.is_empty() {
            let end = rest.iter().position(|s| matches!(s, Step::Reload)).map_or(rest.len(), |at| at + 1);
            let (now, later) = rest.split_at(end);
            rest = later;
            batch += 1;
            let askers: Vec<UserId> = now.iter().filter_map(|step| match step {
                Step::Attend(user, _) | Step::Withdraw(user) => Some(id(*user)),
                Step::Reload => None,
            }).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            let mut line = stored.load(seats, &askers);
            for (number, step) in now.iter().enumerate() {
                match *step {
                    Step::Attend(user, people) => {
                        let new_id = id(batch << 64 | (number as u128) << 32 | user);
                        let ask = Ask::Attend { party: party(people), new_id };
                        let _ = line.decide(&Request { user: id(user), member: true, ask }, NOW);
                    }
                    Step::Withdraw(user) => {
                        let _ = line.decide(&Request { user: id(user), member: true, ask: Ask::Withdraw }, NOW);
                    }
                    Step::Reload => {}
                }
                prop_assert!(line.seats().taken <= capacity);
            }
            let mut promoted: Vec<i64> = vec![];
            for fact in line.facts() {
                let version = versions.entry(fact.rsvp).or_default();
                prop_assert_eq!(fact.version, *version + 1);
                *version = fact.version;
                if fact.cause == Cause::Waitlist {
                    promoted.extend(stored.rsvps.get(&fact.rsvp).and_then(|r| r.waitlist_number));
                }
            }
            prop_assert!(promoted.is_sorted());
            seats = line.seats();
            stored.save(&line);

            let active = stored.rsvps.values().filter(|r| r.status == Status::Confirmed);
            prop_assert_eq!(seats.taken, active.map(|r| r.party.get()).sum::<u32>());
            let waiting = stored.waiting();
            prop_assert_eq!(seats.waiting as usize, waiting.len());
            if let Some(head) = waiting.first() {
                prop_assert!(seats.taken + head.party.get() > capacity, "the head fits but waits");
            }
            for user in &everyone {
                let active = stored.rsvps.values().filter(|r| r.user == *user && r.status != Status::Cancelled).count();
                prop_assert!(active <= 1);
            }
        }
    }
}
