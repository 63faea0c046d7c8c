//! `convene db seed`

use std::sync::Arc;

use convene_application::auth::Registration;
use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_application::kernel::error::Failure;
use convene_application::kernel::idempotency::Reply;
use convene_domain::auth::password::Password;
use convene_domain::community::{CommunityRef, NewCommunity, Visibility};
use convene_domain::event::{Capacity, LocalTime, NewEvent, Plan};
use convene_domain::ids::{CommunityId, EventId, SessionId, TypedId as _, UserId};
use convene_domain::rsvp::PartySize;
use convene_domain::text::{CommunityName, DisplayName, EmailAddress, Slug, Title};
use convene_domain::zone::TimeZoneName;
use convene_infrastructure::postgres::load::Load;
use convene_infrastructure::postgres::seed::{self, SeedError};
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use super::print_json;
use crate::cli::Seed;
use crate::config::{Config, Profile};
use crate::error::StartError;
use crate::wiring::{Convene, Platform};

/// People of a load who can log in.
const LOGINS: usize = 10;
/// Who is in the demo. The first two have communities.
const PEOPLE: [&str; 6] = ["Ada", "Grace", "Alan", "Katherine", "Edsger", "Barbara"];
/// Events of Ada's community.
const MEETUPS: [Meetup; 3] = [
    Meetup {
        title: "Rust for the first time",
        capacity: None,
        days: 7,
        asks: &[(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)],
    },
    Meetup {
        title: "A database from scratch",
        capacity: Some(4),
        days: 14,
        asks: &[(2, 2), (3, 1), (4, 1), (5, 1), (1, 2)],
    },
    Meetup { title: "Summer party", capacity: Some(100), days: 60, asks: &[(1, 4), (5, 2)] },
];

struct Meetup {
    title: &'static str,
    capacity: Option<u32>,
    /// From now.
    days: i64,
    /// Who asks, by place in [`PEOPLE`], and for how many seats.
    asks: &'static [(usize, u32)],
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn run(
    (profile, config): (Profile, Config),
    data: Seed,
    scale: f64,
    destructive: bool,
    json: bool,
) -> Result<(), StartError> {
    if profile == Profile::Production {
        return Err(failed("seeding is refused in production: everybody would know the passwords"));
    }
    let url = config.database.url.clone();
    let platform = Platform::build(profile, config).await?;
    platform.require_migrations().await?;
    seed::prepare(&url, destructive).await.map_err(|error| match error {
        SeedError::NotEmpty => failed("the database has users; --destructive empties it first"),
        error => StartError::other("the database cannot be seeded")(error.into()),
    })?;
    let now = platform.env.now();
    let password = password(&platform);
    let convene = Convene::wire(platform, Arc::new(String::new)).await?;
    let stage = Stage { convene: &convene, password: &password, now };
    let (people, rows) = match data {
        Seed::Demo => (stage.demo().await, None),
        Seed::Load => {
            let load = Load::new(scale, now);
            let loaded = seed::load(&url, &load).await;
            loaded.map_err(|error| {
                StartError::other("the database cannot be seeded")(error.into())
            })?;
            (stage.logins().await, Some(load))
        }
    };
    let people = people.map_err(StartError::other("the database is seeded in part"))?;
    let rows = rows.map(|load| {
        json!({
            "communities": load.communities(),
            "events": load.events(),
            "users": load.users(),
            "rsvps": load.rsvps(),
        })
    });
    if json {
        return print_json(&json!({ "rows": rows, "emails": people, "password": password }));
    }
    if let Some(rows) = rows {
        println!("Loaded {rows}.");
    }
    println!("These can log in, all with the password {password}:");
    for email in people {
        println!("  {email}");
    }
    Ok(())
}

fn failed(what: &'static str) -> StartError {
    StartError::other("nothing was changed")(what.into())
}

/// A password that only the output of this run tells.
fn password(platform: &Platform) -> String {
    let tail = platform.env.random.bytes::<12>();
    tail.iter().fold("demo".to_owned(), |text, byte| format!("{text}-{byte:02x}"))
}

/// Makes things happen through the use cases, so that events and audit entries tell of them.
struct Stage<'a> {
    convene: &'a Convene,
    password: &'a str,
    now: Timestamp,
}

impl Stage<'_> {
    /// People who can log in to a loaded database.
    async fn logins(&self) -> Result<Vec<String>, Cause> {
        let mut emails = Vec::new();
        for number in 0..LOGINS {
            emails.push(self.person(&format!("Login {number}")).await?.1);
        }
        Ok(emails)
    }

    /// A public community with events that lie ahead, one of them with a line, and a private one with a draft.
    async fn demo(&self) -> Result<Vec<String>, Cause> {
        let (mut people, mut emails) = (Vec::new(), Vec::new());
        for name in PEOPLE {
            let (person, email) = self.person(name).await?;
            people.push(person);
            emails.push(email);
        }
        let berlin =
            self.community(people[0], "rust-berlin", "Rust Berlin", Visibility::Public).await?;
        for person in &people[1..] {
            let (context, person) = caller(*person);
            let community = CommunityRef::Id(berlin);
            self.convene
                .services
                .community
                .communities
                .join(&context, person, &community, None)
                .await?;
        }
        for Meetup { title, capacity, days, asks } in MEETUPS {
            let event = self.event(people[0], berlin, title, capacity, days).await?;
            self.publish(people[0], event).await?;
            for (person, party) in asks {
                let (context, person) = caller(people[*person]);
                let party = PartySize::new(*party).ok_or("a party of the demo is too large")?;
                self.convene.services.rsvp.attend(context, person, event, Ok(party), None).await?;
            }
        }
        let readers = self
            .community(people[1], "paper-readers", "Paper readers", Visibility::Private)
            .await?;
        self.event(people[1], readers, "On computable numbers", Some(12), 21).await?;
        Ok(emails)
    }

    async fn person(&self, name: &str) -> Result<(UserId, String), Cause> {
        let email = format!("{}@example.org", name.to_lowercase().replace(' ', "-"));
        let account = Registration {
            email: EmailAddress::new(email.clone())?,
            password: Password::choose(self.password, None)?,
            display_name: DisplayName::new(name)?,
        };
        let context = RequestContext::system("db-seed");
        Ok((self.convene.services.auth.open_account(&context, account).await?, email))
    }

    async fn community(
        &self,
        owner: UserId,
        slug: &str,
        name: &str,
        visibility: Visibility,
    ) -> Result<CommunityId, Cause> {
        let (context, owner) = caller(owner);
        let new = NewCommunity {
            slug: Slug::new(slug)?,
            name: CommunityName::new(name)?,
            description: None,
            visibility,
        };
        let made = self
            .convene
            .services
            .community
            .communities
            .create(&context, owner, Ok(new), None)
            .await;
        Ok(fresh(made)?.id)
    }

    async fn event(
        &self,
        organizer: UserId,
        community: CommunityId,
        title: &str,
        capacity: Option<u32>,
        days: i64,
    ) -> Result<EventId, Cause> {
        let (context, organizer) = caller(organizer);
        let day =
            self.now.checked_add((days * 24).hours())?.to_zoned(jiff::tz::TimeZone::UTC).date();
        let new = NewEvent {
            title: Title::new(title)?,
            description: None,
            plan: Plan {
                starts_at_local: LocalTime::from_civil(day.at(18, 30, 0, 0)),
                ends_at_local: LocalTime::from_civil(day.at(21, 0, 0, 0)),
                time_zone: TimeZoneName::new("Europe/Berlin")?,
                fold: None,
            },
            rsvp_opens_at: None,
            rsvp_closes_at: None,
            capacity: capacity.and_then(Capacity::new),
        };
        let community = CommunityRef::Id(community);
        let service = &self.convene.services.event;
        Ok(fresh(service.create(&context, organizer, &community, Ok(new), None).await)?.id)
    }

    async fn publish(&self, organizer: UserId, event: EventId) -> Result<(), Failure> {
        let (context, organizer) = caller(organizer);
        self.convene.services.event.publish(&context, organizer, event, None).await.map(|_| ())
    }
}

fn caller(user: UserId) -> (RequestContext, Principal) {
    let context = RequestContext { actor: Actor::User(user), ..RequestContext::system("db-seed") };
    // No login stands behind it; sessions are only remembered here, never looked up.
    (context, Principal { user, session: SessionId::from_uuid(user.uuid()) })
}

/// What was made. Without an idempotency key there is nothing to replay.
fn fresh<T>(reply: Result<Reply<T>, Failure>) -> Result<T, Cause> {
    match reply? {
        Reply::Fresh(made) => Ok(made),
        Reply::Replayed(_) => Err("a reply was replayed to a request without a key".into()),
    }
}
