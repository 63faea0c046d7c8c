//! A cast with somebody in every role, and places where they may or may not do things.

use futures::future::join_all;
use serde_json::json;

use convene_testkit::poll::poll_until;

use crate::app::App;
use crate::client::{Call, PATIENCE, Person, text};
use crate::receiver::Receiver;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Nobody: no credentials at all.
    Anonymous,
    /// Somebody with an account who is no member.
    Stranger,
    /// A member.
    Member,
    /// A member with the role of an organizer, who organises another event of the community and none of those at hand.
    Organizer,
    /// Who made the events at hand: an organiser of them.
    Host,
    /// An admin.
    Admin,
    /// The owner.
    Owner,
    /// The owner of another community.
    ForeignOwner,
    /// An administrator of the platform, who is no member.
    PlatformAdmin,
}

impl Actor {
    /// Everybody, from the least to the most trusted.
    pub const ALL: [Self; 9] = [
        Self::Anonymous,
        Self::Stranger,
        Self::ForeignOwner,
        Self::PlatformAdmin,
        Self::Member,
        Self::Organizer,
        Self::Host,
        Self::Admin,
        Self::Owner,
    ];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Stranger => "stranger",
            Self::Member => "member",
            Self::Organizer => "organizer",
            Self::Host => "host",
            Self::Admin => "admin",
            Self::Owner => "owner",
            Self::ForeignOwner => "foreign-owner",
            Self::PlatformAdmin => "platform-admin",
        }
    }
}

/// The people behind the roles.
pub struct Cast {
    stranger: Person,
    member: Person,
    organizer: Person,
    host: Person,
    admin: Person,
    foreign_owner: Person,
    platform_admin: Person,
    /// The owner of every place.
    pub owner: Person,
    /// A member whom others give roles to.
    pub extra: Person,
}

impl Cast {
    /// Registers everybody, gives the foreign owner a community and makes the administrator one.
    pub async fn gather(app: &App) -> Self {
        let names = [
            "stranger",
            "member",
            "organizer",
            "host",
            "admin",
            "foreign",
            "platform",
            "owner",
            "extra",
        ];
        let people = join_all(names.map(|name| app.person(name))).await;
        let [stranger, member, organizer, host, admin, foreign_owner, platform_admin, owner, extra] =
            people.try_into().expect("as many people as names");
        app.community(&foreign_owner).await;
        app.sql()
            .await
            .execute(
                "INSERT INTO platform_admins (user_id, reason, at) SELECT id, 'a test', now() FROM users WHERE email = $1",
                &[&platform_admin.email],
            )
            .await
            .expect("somebody with an account can administer the platform");
        Self {
            stranger,
            member,
            organizer,
            host,
            admin,
            foreign_owner,
            platform_admin,
            owner,
            extra,
        }
    }

    /// The person in a role; nobody for anonymous calls.
    #[must_use]
    pub fn person(&self, actor: Actor) -> Option<&Person> {
        match actor {
            Actor::Anonymous => None,
            Actor::Stranger => Some(&self.stranger),
            Actor::Member => Some(&self.member),
            Actor::Organizer => Some(&self.organizer),
            Actor::Host => Some(&self.host),
            Actor::Admin => Some(&self.admin),
            Actor::Owner => Some(&self.owner),
            Actor::ForeignOwner => Some(&self.foreign_owner),
            Actor::PlatformAdmin => Some(&self.platform_admin),
        }
    }
}

/// What a place is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Venue {
    /// A public community with a published event.
    Public,
    /// A private community with a published event.
    Private,
    /// A public community whose event is a draft.
    Draft,
    /// A public community with a published event, archived since.
    Archived,
}

impl Venue {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Draft => "draft",
            Self::Archived => "archived",
        }
    }
}

/// A community with everybody in it, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The community.
    pub community: String,
    /// An event of the host without a limit.
    pub event: String,
    /// An endpoint.
    pub webhook: String,
    /// A delivery to it.
    pub delivery: String,
    /// A replay of what it missed.
    pub replay: String,
}

impl Place {
    /// What stands in the braces of a path.
    ///
    /// # Panics
    /// For a name that nothing here has.
    #[must_use]
    pub fn segment(&self, cast: &Cast, name: &str) -> String {
        match name {
            "community" => self.community.clone(),
            "event" => self.event.clone(),
            "webhook" => self.webhook.clone(),
            "delivery" => self.delivery.clone(),
            "replay" => self.replay.clone(),
            "user" => cast.extra.id.clone(),
            "file" => "start.js".to_owned(),
            "code" => "not_found".to_owned(),
            "document" => "rsvp.confirmed.v1".to_owned(),
            other => panic!("nothing here is a {{{other}}}"),
        }
    }
}

impl App {
    /// A public community where everybody but the stranger, the foreign owner and the administrator has their role.
    pub async fn staffed_community(&self, cast: &Cast) -> String {
        let community = self.community(&cast.owner).await;
        let members = [&cast.member, &cast.organizer, &cast.host, &cast.admin, &cast.extra];
        join_all(members.map(|person| self.join(person, &community))).await;
        let roles =
            [(&cast.organizer, "organizer"), (&cast.host, "organizer"), (&cast.admin, "admin")];
        for (person, role) in roles {
            let path = format!("/v1/communities/{community}/members/{}/role", person.id);
            self.put(path).by(&cast.owner).json(json!({ "role": role })).await.expect(200);
        }
        community
    }

    /// A place of that kind to whose event nobody comes yet.
    pub async fn place(&self, cast: &Cast, venue: Venue) -> Place {
        let place = self.place_before(cast, venue).await;
        self.set(cast, &place.community, venue).await;
        place
    }

    /// What is to become a place of that kind. The delivery is one that succeeded.
    async fn place_before(&self, cast: &Cast, venue: Venue) -> Place {
        let community = self.staffed_community(cast).await;
        let receiver = Receiver::start();
        let webhook = self.webhook(cast, &community, &receiver.url()).await;
        let event = match venue {
            Venue::Draft => self.draft(&cast.host, &community, None).await,
            _ => self.event(&cast.host, &community, None).await,
        };
        self.draft(&cast.organizer, &community, None).await;
        let path = format!("/v1/communities/{community}/webhooks/{webhook}/deliveries");
        let delivery = poll_until(PATIENCE, "a delivery succeeds", async || {
            let page = self.get(&path).by(&cast.owner).await.expect(200).json();
            let all = page["data"].as_array()?;
            let done = all.iter().find(|delivery| delivery["status"] == "succeeded")?;
            Some(text(&done["id"]))
        })
        .await;
        let path = format!("/v1/communities/{community}/webhooks/{webhook}/replay");
        let replay = self.post(path).by(&cast.owner).json(json!({"scope": "missing"}));
        let replay = text(&replay.await.expect(202).json()["id"]);
        Place { community, event, webhook, delivery, replay }
    }

    /// A place to whose event every member comes, where events can be come to.
    pub async fn attended_place(&self, cast: &Cast, venue: Venue) -> Place {
        let place = self.place_before(cast, venue).await;
        if venue != Venue::Draft {
            join_all(Actor::ALL.map(|actor| self.attend(cast, actor, &place.event))).await;
        }
        self.set(cast, &place.community, venue).await;
        place
    }

    /// Comes to an event; whoever is no member cannot.
    pub async fn attend(&self, cast: &Cast, actor: Actor, event: &str) {
        if let Some(person) = cast.person(actor) {
            let status = self.rsvp(person, event).await.status;
            assert!([201, 403, 404].contains(&status), "{} answered {status}", actor.name());
        }
    }

    /// Gives a public community what its venue asks for.
    pub async fn set(&self, cast: &Cast, community: &str, venue: Venue) {
        let path = format!("/v1/communities/{community}");
        match venue {
            Venue::Public | Venue::Draft => {}
            Venue::Private => {
                let change = self.patch(path).by(&cast.owner).header("if-match", "*");
                change.json(json!({"visibility": "private"})).await.expect(200);
            }
            Venue::Archived => {
                self.delete(path).by(&cast.owner).header("if-match", "*").await.expect(204);
            }
        }
    }

    /// An endpoint for all events; its id.
    pub async fn webhook(&self, cast: &Cast, community: &str, url: &str) -> String {
        let endpoint = json!({"url": url, "event_types": ["*"]});
        let path = format!("/v1/communities/{community}/webhooks");
        text(&self.post(path).by(&cast.owner).json(endpoint).await.expect(201).json()["id"])
    }

    /// A call by somebody, or by nobody.
    pub fn acted<'a>(&self, call: Call<'a>, cast: &Cast, actor: Actor) -> Call<'a> {
        match cast.person(actor) {
            Some(person) => call.by(person),
            None => call,
        }
    }
}
