//! Rows of this module, and the domain's values that they hold.

use convene_application::kernel::authz::Standing;
use convene_application::kernel::page::PageKey;
use convene_application::kernel::store::StoreError;
use convene_application::rsvp::ports::{EventFacts, RsvpView, Seen};
use convene_domain::ids::TypedId;
use convene_domain::role::Role;
use convene_domain::rsvp::{Admissibility, PartySize, Rsvp, Seats, Status};
use diesel::QueryableByName;
use diesel::sql_types::{
    BigInt, Bool, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use jiff::Timestamp;
use uuid::Uuid;

/// The columns of [`RsvpRow`] of a row `r` of `rsvps`, with the number of parties ahead of one that waits.
pub(super) const RSVP_COLUMNS: &str = "r.id, r.event_id, r.user_id, r.status, r.party_size, r.waitlist_number, \
     r.version, r.created_at, r.updated_at, \
     CASE WHEN r.status = 'waitlisted' THEN (SELECT count(*) FROM rsvps w WHERE w.event_id = r.event_id \
          AND w.status = 'waitlisted' AND w.waitlist_number < r.waitlist_number) ELSE 0 END AS ahead";

#[derive(QueryableByName)]
pub(super) struct RsvpRow {
    #[diesel(sql_type = SqlUuid)]
    pub(super) id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = SmallInt)]
    party_size: i16,
    #[diesel(sql_type = Nullable<BigInt>)]
    waitlist_number: Option<i64>,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    pub(super) created_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    updated_at: Timestamp,
    #[diesel(sql_type = BigInt)]
    ahead: i64,
}

impl RsvpRow {
    /// The RSVP, with the number of parties ahead of it.
    pub(super) fn into_parts(self) -> Result<(Rsvp, u32), StoreError> {
        let rsvp = Rsvp {
            id: TypedId::from_uuid(self.id),
            event: TypedId::from_uuid(self.event_id),
            user: TypedId::from_uuid(self.user_id),
            status: Status::parse(&self.status).ok_or_else(|| corrupt("status"))?,
            party: u32::try_from(self.party_size)
                .ok()
                .and_then(PartySize::new)
                .ok_or_else(|| corrupt("party_size"))?,
            waitlist_number: self.waitlist_number,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        Ok((rsvp, u32::try_from(self.ahead).unwrap_or(u32::MAX)))
    }

    /// The RSVP as it is shown.
    pub(super) fn into_view(self) -> Result<RsvpView, StoreError> {
        let (rsvp, ahead) = self.into_parts()?;
        let position = rsvp.waitlist_number.map(|_| ahead + 1);
        Ok(RsvpView { rsvp, position })
    }

    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.created_at.as_microsecond(), id: self.id }
    }
}

#[derive(QueryableByName)]
pub(super) struct SeatsRow {
    #[diesel(sql_type = Nullable<Integer>)]
    capacity: Option<i32>,
    #[diesel(sql_type = Integer)]
    taken: i32,
    #[diesel(sql_type = Integer)]
    waiting: i32,
    #[diesel(sql_type = BigInt)]
    next_number: i64,
}

impl From<SeatsRow> for Seats {
    /// The table's checks keep the counters from being negative.
    fn from(row: SeatsRow) -> Self {
        Self {
            capacity: row.capacity.map(i32::unsigned_abs),
            taken: row.taken.unsigned_abs(),
            waiting: row.waiting.unsigned_abs(),
            next_number: row.next_number,
        }
    }
}

/// The columns of [`FactsRow`] of an event `e` in its community `c`.
pub(super) const FACTS_COLUMNS: &str = "e.id, e.community_id, c.visibility = 'private' AS private, e.status, \
     e.published_at IS NOT NULL AS published, \
     e.starts_at, e.ends_at, e.rsvp_opens_at, e.rsvp_closes_at, c.archived_at IS NOT NULL AS archived";

#[derive(QueryableByName)]
pub(super) struct FactsRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = Bool)]
    private: bool,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Bool)]
    published: bool,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    starts_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    ends_at: Timestamp,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    rsvp_opens_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    rsvp_closes_at: Option<Timestamp>,
    #[diesel(sql_type = Bool)]
    archived: bool,
}

impl TryFrom<FactsRow> for EventFacts {
    type Error = StoreError;

    fn try_from(row: FactsRow) -> Result<Self, StoreError> {
        use convene_domain::event::Status as EventStatus;
        let status = match row.status.as_str() {
            "draft" => EventStatus::Draft,
            "published" => EventStatus::Published,
            "cancelled" => EventStatus::Cancelled,
            _ => return Err(corrupt("events.status")),
        };
        Ok(Self {
            community: TypedId::from_uuid(row.community_id),
            private: row.private,
            published: row.published,
            rules: Admissibility {
                status,
                starts_at: row.starts_at,
                ends_at: row.ends_at,
                opens_at: row.rsvp_opens_at,
                closes_at: row.rsvp_closes_at,
                community_archived: row.archived,
            },
        })
    }
}

/// Who a viewer is to an event: [`FACTS_COLUMNS`], and `role` and `organizes` of the viewer.
#[derive(QueryableByName)]
pub(super) struct SeenRow {
    #[diesel(embed)]
    facts: FactsRow,
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Bool)]
    organizes: bool,
}

impl TryFrom<SeenRow> for Seen {
    type Error = StoreError;

    fn try_from(row: SeenRow) -> Result<Self, StoreError> {
        let standing = row.facts.standing(row.role.as_deref(), row.organizes)?;
        Ok(Self { event: row.facts.try_into()?, standing })
    }
}

impl FactsRow {
    /// Who somebody with this role, or none, is to the event.
    pub(super) fn standing(
        &self,
        role: Option<&str>,
        organizes_event: bool,
    ) -> Result<Standing, StoreError> {
        let role = role
            .map(|role| Role::parse(role).ok_or_else(|| corrupt("members.role")))
            .transpose()?;
        Ok(Standing {
            community: TypedId::from_uuid(self.community_id),
            event: Some(TypedId::from_uuid(self.id)),
            role,
            organizes_event,
        })
    }
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::other(format!("{column} holds a value that is not one of its own"))
}
