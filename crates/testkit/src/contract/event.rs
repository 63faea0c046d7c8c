//! The store of events.

use std::sync::Arc;

use convene_application::community::offers::CommunityStanding;
use convene_application::community::ports::CommunityTx;
use convene_application::event::ports::{EventReads, EventTx, LockedEvent, Unpublished};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Uow;
use convene_domain::community::{Community, CommunityRef, Membership, Role, Visibility};
use convene_domain::event::{Capacity, Event, EventPatch, Fold, LocalTime, NewEvent, Plan, Status};
use convene_domain::ids::{EventId, UserId};
use convene_domain::rsvp::Seats;
use convene_domain::text::{Description, Title};
use convene_domain::zone::TimeZoneName;

use super::community::{at, community, id, member};
use super::walk::walk;

/// The ports under test, over one store that holds nothing but people.
pub struct Ports {
    /// Units of work.
    pub uow: Uow<dyn EventTx>,
    /// Reads.
    pub reads: Arc<dyn EventReads>,
    /// Units of work that make communities.
    pub communities: Uow<dyn CommunityTx>,
    /// People with an account.
    pub people: [UserId; 3],
}

/// Makes a test of each part of the contract. The argument is an expression that makes a future of [`Ports`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! event_contract {
    ($ports:expr) => {
        $crate::event_contract! { $ports;
            an_event_is_kept_as_it_is
            an_event_changes_with_its_capacity
            a_lock_reads_who_asks_and_the_seats
            a_community_is_held_for_a_new_event
            events_are_listed_by_their_start
        }
    };
    ($ports:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (ports, _kept) = $ports.await;
            $crate::contract::event::$part(&ports).await;
        }
    )+};
}

fn new_event(start: &str) -> NewEvent {
    let local = |time: &str| LocalTime::parse(time).expect("it is a local time");
    NewEvent {
        title: Title::new("Spring Hack Day").expect("it is a title"),
        description: None,
        plan: Plan {
            starts_at_local: local(start),
            ends_at_local: local("2027-11-01T22:00"),
            time_zone: TimeZoneName::new("Europe/Berlin").expect("it is a zone"),
            fold: None,
        },
        rsvp_opens_at: None,
        rsvp_closes_at: None,
        capacity: None,
    }
}

fn event(number: u128, of: &Community, start: &str) -> Event {
    Event::draft(id(number), of.id, new_event(start), at(0)).expect("it fits together")
}

impl Ports {
    /// A community whose owner is the first of the people; the second is a member.
    async fn community(&self) -> Community {
        let community = community(1, at(0));
        let [ada, ben, _] = self.people;
        let owner = Membership { role: Role::Owner, ..member(1, &community, ada, at(0)) };
        let mut tx = self.communities.begin(Vec::new()).await.expect("the store is up");
        tx.insert_community(&community);
        tx.insert_member(&owner);
        tx.insert_member(&member(2, &community, ben, at(1)));
        tx.commit().await.expect("the rows fit");
        community
    }

    async fn tx(&self) -> Box<dyn EventTx> {
        self.uow.begin(Vec::new()).await.expect("the store is up")
    }

    async fn insert(&self, events: &[Event], organizer: UserId) {
        let mut tx = self.tx().await;
        for event in events {
            tx.insert_event(event, organizer);
            tx.open_seats(event.id, event.capacity.map(Capacity::get));
        }
        tx.commit().await.expect("the rows fit");
    }

    async fn find(&self, event: EventId) -> Option<Event> {
        let seen = self.reads.event(event, None).await.expect("the store is up");
        seen.map(|seen| seen.event)
    }

    async fn lock(
        &self,
        event: EventId,
        viewer: UserId,
    ) -> Result<Option<LockedEvent>, StoreError> {
        self.tx().await.lock_event(event, viewer).await
    }
}

/// An event is found as it was written, with everything it can have and with nothing of it.
pub async fn an_event_is_kept_as_it_is(ports: &Ports) {
    let community = ports.community().await;
    let bare = event(1, &community, "2027-05-01T18:00");
    let mut new = new_event("2027-10-31T02:30");
    new.description = Some(Description::new("Bring\na laptop.").expect("it is one"));
    new.plan.fold = Some(Fold::Later);
    (new.rsvp_opens_at, new.rsvp_closes_at) = (Some(at(1)), Some(at(2)));
    new.capacity = Capacity::new(1_000_000);
    let full = Event::draft(id(2), community.id, new, at(3)).expect("it fits together");
    let full = full.published(at(4)).expect("it is a draft");
    ports.insert(&[bare.clone(), full.clone()], ports.people[0]).await;
    for event in [bare, full] {
        assert_eq!(ports.find(event.id).await, Some(event));
    }
    assert_eq!(ports.find(id(3)).await, None);
}

/// What is saved under the lock is what is read afterwards.
pub async fn an_event_changes_with_its_capacity(ports: &Ports) {
    let community = ports.community().await;
    let [ada, ..] = ports.people;
    let draft = event(1, &community, "2027-05-01T18:00");
    ports.insert(std::slice::from_ref(&draft), ada).await;
    let patch = EventPatch {
        title: Some(Title::new("Spring Hack Night").expect("it is a title")),
        time_zone: Some(TimeZoneName::new("Asia/Kathmandu").expect("it is a zone")),
        capacity: Some(Capacity::new(40)),
        ..EventPatch::default()
    };
    let mut tx = ports.tx().await;
    let locked = tx.lock_event(draft.id, ada).await.expect("the store is up");
    let LockedEvent { seen, seats } = locked.expect("the event is there");
    assert_eq!(seen.event, draft);
    let amended = draft.amended(patch).expect("it fits together");
    let revision = draft.revised(amended, seats.taken, at(1)).expect("it is a draft");
    let revised = revision.expect("something changed").event;
    tx.update_event(&revised);
    tx.change_capacity(revised.id, Some(40));
    tx.commit().await.expect("the rows fit");
    assert_eq!(ports.find(draft.id).await, Some(revised.clone()));

    let cancelled = revised.cancelled(at(2)).expect("it is a draft");
    let mut tx = ports.tx().await;
    tx.update_event(&cancelled);
    tx.commit().await.expect("the rows fit");
    assert_eq!(ports.find(draft.id).await, Some(cancelled));
}

/// A lock tells who asks, what the community is, and the counters of the seats; so does a read, but for the counters.
pub async fn a_lock_reads_who_asks_and_the_seats(ports: &Ports) {
    let community = ports.community().await;
    let [ada, ben, cleo] = ports.people;
    let mut event = event(1, &community, "2027-05-01T18:00");
    event.capacity = Capacity::new(2);
    ports.insert(std::slice::from_ref(&event), ben).await;
    for (viewer, role, organizes) in
        [(ada, Some(Role::Owner), false), (ben, Some(Role::Member), true), (cleo, None, false)]
    {
        let locked = ports.lock(event.id, viewer).await.expect("the store is up");
        let LockedEvent { seen, seats } = locked.expect("the event is there");
        assert_eq!(seen.event, event);
        assert_eq!(seen.community, standing(&community, role));
        assert_eq!(seen.organizes, organizes);
        assert_eq!(seats, Seats { capacity: Some(2), taken: 0, waiting: 0, next_number: 1 });
        let read = ports.reads.event(event.id, Some(viewer)).await.expect("the store is up");
        assert_eq!(read, Some(seen));
    }
    assert_eq!(ports.lock(id(2), ada).await.expect("the store is up"), None);
    let mut tx = ports.tx().await;
    assert!(tx.lock_seats(event.id).await.expect("the store is up").is_some());
    assert_eq!(tx.lock_seats(id(2)).await.expect("the store is up"), None);
}

/// A community is held by its id or a slug, and tells who asks.
pub async fn a_community_is_held_for_a_new_event(ports: &Ports) {
    let community = ports.community().await;
    let [ada, _, cleo] = ports.people;
    for (viewer, role) in [(ada, Some(Role::Owner)), (cleo, None)] {
        for by in [CommunityRef::Id(community.id), CommunityRef::Slug(community.slug.clone())] {
            let held = ports.tx().await.hold_community(&by, viewer).await;
            assert_eq!(held.expect("the store is up"), Some(standing(&community, role)));
        }
    }
    let absent = ports.tx().await.hold_community(&CommunityRef::Id(id(2)), ada).await;
    assert_eq!(absent.expect("the store is up"), None);
}

/// The list of a community is in the order of the starts, and unpublished events are for those who may see them.
pub async fn events_are_listed_by_their_start(ports: &Ports) {
    let community = ports.community().await;
    let [ada, ben, cleo] = ports.people;
    let starts = [
        "2027-05-03T18:00",
        "2027-05-01T18:00",
        "2027-05-02T18:00",
        "2027-05-02T18:00",
        "2027-05-04T18:00",
        "2027-05-05T18:00",
    ];
    let mut events: Vec<Event> =
        (1..).zip(starts).map(|(number, start)| event(number, &community, start)).collect();
    for published in [0, 1, 2, 4] {
        events[published] = events[published].published(at(1)).expect("it is a draft");
    }
    events[4] = events[4].cancelled(at(2)).expect("it is published");
    assert_eq!((events[3].status, events[4].status), (Status::Draft, Status::Cancelled));
    ports.insert(&events[..4], ada).await;
    ports.insert(&events[4..], ben).await;
    for (unpublished, expected) in [
        (Unpublished::Hidden, vec![2, 3, 1, 5]),
        (Unpublished::OrganizedBy(ben), vec![2, 3, 1, 5, 6]),
        (Unpublished::OrganizedBy(cleo), vec![2, 3, 1, 5]),
        (Unpublished::Listed, vec![2, 3, 4, 1, 5, 6]),
    ] {
        let listed = walk(async |query| {
            let page = ports.reads.of_community(community.id, unpublished, query).await;
            page.expect("the store is up").map(|event| event.id)
        })
        .await;
        assert_eq!(listed, expected.into_iter().map(id).collect::<Vec<_>>(), "{unpublished:?}");
    }
    let elsewhere = walk(async |query| {
        let page = ports.reads.of_community(id(2), Unpublished::Listed, query).await;
        page.expect("the store is up")
    });
    assert!(elsewhere.await.is_empty());
}

fn standing(community: &Community, role: Option<Role>) -> CommunityStanding {
    let visibility = Visibility::Public;
    CommunityStanding { id: community.id, visibility, archived: false, role }
}
