//! The data set for load tests and measurements: how many of everything there are, and who belongs to what.
//!
//! Each module writes its own rows from this shape by `INSERT … SELECT generate_series(…)`. Every id follows from a number,
//! so no module has to read another's rows to refer to them, and a load generator can compute the ids that it calls.

use jiff::Timestamp;
use uuid::Uuid;

/// Communities at scale 1.
const COMMUNITIES: f64 = 1_000.0;
/// Fewer would not have enough people for the largest event.
const FEWEST_COMMUNITIES: i64 = 4;
/// People for each community; most are members of several.
const PEOPLE_EACH: i64 = 50;
/// Events of each community.
pub const EVENTS_EACH: i64 = 20;
/// RSVPs to each of a community's events: a few big ones and many small. The last is a draft, and the one before cancelled.
const PARTIES: [i64; 20] =
    [200, 150, 120, 100, 80, 60, 50, 40, 35, 30, 25, 25, 20, 15, 15, 10, 10, 10, 5, 0];
/// Members of the smallest community: as many as its largest event has RSVPs.
const FEWEST_MEMBERS: i64 = 200;

/// All ids begin with this: `UUIDv7`s of one instant, told apart by a kind and a number.
const FIRST_ID: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0000;

/// What a generated id identifies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    User = 1,
    Community = 2,
    Member = 3,
    Event = 4,
    Rsvp = 5,
}

/// How much is to be loaded. At scale 1: 1,000 communities, 20,000 events, 50,000 people, 1,000,000 RSVPs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    communities: i64,
    now: Timestamp,
}

impl Load {
    /// A load of this scale, around this instant: half of the events are over. The smallest has four communities.
    #[must_use]
    pub fn new(scale: f64, now: Timestamp) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let communities = (COMMUNITIES * scale).round() as i64;
        Self { communities: communities.clamp(FEWEST_COMMUNITIES, 1 << 17), now }
    }

    /// How many communities.
    #[must_use]
    pub fn communities(&self) -> i64 {
        self.communities
    }

    /// How many people.
    #[must_use]
    pub fn users(&self) -> i64 {
        self.communities * PEOPLE_EACH
    }

    /// How many events.
    #[must_use]
    pub fn events(&self) -> i64 {
        self.communities * EVENTS_EACH
    }

    /// How many RSVPs.
    #[must_use]
    pub fn rsvps(&self) -> i64 {
        self.communities * PARTIES.iter().sum::<i64>()
    }

    /// How many members this community has: the first has the most.
    #[must_use]
    pub fn members_of(&self, community: i64) -> i64 {
        self.users().min(FEWEST_MEMBERS + self.users() * 2 / 5 / (community + 1))
    }

    /// The number of a person: that of the `member`-th member of a community.
    #[must_use]
    pub fn person(&self, community: i64, member: i64) -> i64 {
        (community * 7_919 + member) % self.users()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// [`Load::members_of`] in SQL.
    pub(super) fn members_of_sql(&self, community: &str) -> String {
        let users = self.users();
        format!("least({users}, {FEWEST_MEMBERS} + {users} * 2 / 5 / ({community} + 1))")
    }

    /// [`Load::person`] in SQL.
    pub(super) fn person_sql(&self, community: &str, member: &str) -> String {
        format!("(({community} * 7919 + {member}) % {})", self.users())
    }
}

/// The id of the `number`-th person.
#[must_use]
pub fn user_id(number: i64) -> Uuid {
    id(Kind::User, number)
}

/// The id of the `number`-th community.
#[must_use]
pub fn community_id(number: i64) -> Uuid {
    id(Kind::Community, number)
}

/// The id of the `number`-th event, which belongs to community `number / EVENTS_EACH`.
#[must_use]
pub fn event_id(number: i64) -> Uuid {
    id(Kind::Event, number)
}

fn id(kind: Kind, number: i64) -> Uuid {
    Uuid::from_u128(FIRST_ID | (kind as u128) << 64 | u128::from(number.unsigned_abs()))
}

/// The same id in SQL, of a number that an expression gives.
pub(super) fn id_sql(kind: Kind, number: &str) -> String {
    let kind = kind as u16;
    format!("('01900000-0000-7{kind:03x}-8000-' || lpad(to_hex({number}), 12, '0'))::uuid")
}

/// The RSVPs of an event in SQL, by its number within its community.
pub(super) fn parties_sql(place: &str) -> String {
    format!("(ARRAY{PARTIES:?})[{place} + 1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_load_is_a_million_rsvps() {
        let load = Load::new(1.0, Timestamp::UNIX_EPOCH);
        let sizes = (load.communities(), load.events(), load.users(), load.rsvps());
        assert_eq!(sizes, (1_000, 20_000, 50_000, 1_000_000));
    }

    #[test]
    fn the_smallest_load_has_people_enough_for_its_largest_event() {
        let load = Load::new(0.0, Timestamp::UNIX_EPOCH);
        assert!(
            (0..load.communities()).all(|c| load.members_of(c) >= PARTIES[0]),
            "some community is too small: {load:?}"
        );
    }
}
