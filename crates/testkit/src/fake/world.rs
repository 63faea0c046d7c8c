//! The tables that communities and their events need, and people to begin with.

use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use convene_domain::user::{Profile, User};
use convene_domain::zone::TimeZoneName;
use jiff::Timestamp;
use uuid::Uuid;

use super::community::{Communities, HasCommunities};
use super::event::{Events, HasEvents};
use super::seats::{HasSeats, Seating};
use super::store::FakeStore;
use super::user::{HasUsers, Users};

/// People, communities, events and seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// People.
    pub users: Users,
    /// Communities and members.
    pub communities: Communities,
    /// Events.
    pub events: Events,
    /// Their seats.
    pub seating: Seating,
}

macro_rules! holds {
    ($($has:ident: $field:ident, $mut:ident -> $table:ty;)+) => {$(
        impl $has for World {
            fn $field(&self) -> &$table {
                &self.$field
            }

            fn $mut(&mut self) -> &mut $table {
                &mut self.$field
            }
        }
    )+};
}

holds! {
    HasUsers: users, users_mut -> Users;
    HasCommunities: communities, communities_mut -> Communities;
    HasSeats: seating, seating_mut -> Seating;
    HasEvents: events, events_mut -> Events;
}

/// Somebody who makes requests.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What events and audit entries remember of the request.
    pub context: RequestContext,
    /// Who it is.
    pub principal: Principal,
}

impl Caller {
    /// Who it is.
    pub fn user(&self) -> UserId {
        self.principal.user
    }
}

impl<T: HasUsers> FakeStore<T> {
    /// Somebody with an account. The number makes the ids.
    pub async fn person(&self, number: u128, name: &str) -> Caller {
        let user = UserId::from_uuid(Uuid::from_u128(number));
        let session = SessionId::from_uuid(Uuid::from_u128(number));
        let email = EmailAddress::new(format!("person-{number}@example.org"));
        let profile = Profile {
            display_name: DisplayName::new(name).expect("the test's name is one"),
            handle: None,
            time_zone: TimeZoneName::new("UTC").expect("UTC is a time zone"),
        };
        let account = User {
            id: user,
            email: email.expect("the address is one"),
            email_verified: true,
            profile,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        self.peek().await.users_mut().0.insert(user, account);
        let context = RequestContext {
            actor: Actor::User(user),
            session: Some(session),
            ..RequestContext::system("req-test")
        };
        Caller { context, principal: Principal { user, session } }
    }
}
