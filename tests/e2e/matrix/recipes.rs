//! How each operation is called, so that only the role decides.

use convene_tests::client::{Answer, Call};
use convene_tests::openapi::Operation;
use convene_tests::scene::{Actor, Place, Venue};
use serde_json::{Value, json};

use super::Stage;

/// How an operation is called.
#[derive(Clone, Copy)]
pub(super) struct Recipe {
    body: Body,
    if_match: bool,
    fresh: Fresh,
}

/// What is sent with the call.
#[derive(Clone, Copy)]
enum Body {
    Nothing,
    Json(&'static str),
    /// A community with a slug that nobody has.
    NewCommunity,
    /// The credentials of the owner.
    Credentials,
    /// The refresh token of a session of its own.
    RefreshToken,
}

/// What a call uses up if it succeeds, and so gets for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Nothing,
    Community,
    Event,
    /// An event, with an RSVP of the caller where that is possible.
    Rsvp,
    Webhook,
    /// A session of the caller.
    Session,
}

const fn plain() -> Recipe {
    Recipe { body: Body::Nothing, if_match: false, fresh: Fresh::Nothing }
}

const fn with(body: Body) -> Recipe {
    Recipe { body, ..plain() }
}

const fn json(body: &'static str) -> Recipe {
    with(Body::Json(body))
}

impl Recipe {
    const fn if_match(self) -> Self {
        Self { if_match: true, ..self }
    }

    const fn on(self, fresh: Fresh) -> Self {
        Self { fresh, ..self }
    }
}

const NEW_EVENT: &str = r#"{"title": "Another", "starts_at_local": "2035-06-01T18:00", "ends_at_local": "2035-06-01T21:00",
    "time_zone": "Europe/Berlin"}"#;

/// Every operation with the way to call it.
pub(super) const RECIPES: [(&str, Recipe); 59] = [
    ("get_jwks", plain()),
    ("get_asyncapi", plain()),
    ("get_docs", plain()),
    ("get_docs_asset", plain()),
    ("list_problems", plain()),
    ("get_problem", plain()),
    ("get_liveness", plain()),
    ("get_metrics", plain()),
    ("get_openapi", plain()),
    ("get_readiness", plain()),
    ("get_schema", plain()),
    ("forgot_password", json(r#"{"email": "nobody@example.org"}"#)),
    ("login", with(Body::Credentials)),
    ("logout", plain().on(Fresh::Session)),
    ("refresh_tokens", with(Body::RefreshToken)),
    (
        "register",
        json(
            r#"{"email": "new@example.org", "password": "tremendous otter 42", "display_name": "New"}"#,
        ),
    ),
    ("resend_verification", json(r#"{"email": "nobody@example.org"}"#)),
    ("reset_password", json(r#"{"token": "none", "password": "tremendous otter 42"}"#)),
    ("verify_email", json(r#"{"token": "none"}"#)),
    ("get_me", plain()),
    ("update_me", json(r#"{"time_zone": "Europe/Paris"}"#).if_match()),
    ("list_my_communities", plain()),
    ("list_my_rsvps", plain()),
    ("list_communities", plain()),
    ("create_community", with(Body::NewCommunity)),
    ("get_community", plain()),
    ("update_community", json(r#"{"description": "Changed."}"#).if_match()),
    ("archive_community", plain().if_match().on(Fresh::Community)),
    ("join_community", plain().on(Fresh::Community)),
    ("leave_community", plain().on(Fresh::Community)),
    ("list_members", plain()),
    ("get_my_membership", plain()),
    ("set_member_role", json(r#"{"role": "organizer"}"#)),
    ("list_event_log", plain()),
    ("list_audit_log", plain()),
    ("list_events", plain()),
    ("create_event", json(NEW_EVENT)),
    ("get_event", plain()),
    ("update_event", json(r#"{"description": "Changed."}"#).if_match()),
    ("publish_event", plain().on(Fresh::Event)),
    ("cancel_event", plain().on(Fresh::Event)),
    ("get_availability", plain()),
    ("list_rsvps", plain()),
    ("get_my_rsvp", plain().on(Fresh::Rsvp)),
    ("put_my_rsvp", json("{}").on(Fresh::Event)),
    ("cancel_my_rsvp", plain().on(Fresh::Rsvp)),
    ("create_webhook", json(r#"{"url": "http://127.0.0.1:9/hook", "event_types": ["webhook.*"]}"#)),
    ("list_webhooks", plain()),
    ("get_webhook", plain()),
    ("update_webhook", json(r#"{"description": "Changed."}"#).if_match()),
    ("delete_webhook", plain().if_match().on(Fresh::Webhook)),
    ("rotate_webhook_secret", json("{}")),
    ("list_deliveries", plain()),
    ("resend_delivery", plain()),
    ("test_webhook", plain()),
    ("replay_webhook", json(r#"{"scope": "missing"}"#)),
    ("get_replay", plain()),
    ("cancel_replay", plain()),
    ("get_webhook_stats", plain()),
];

impl Recipe {
    /// Calls the operation as somebody.
    pub(super) async fn perform(
        self,
        stage: &Stage,
        operation: &Operation,
        actor: Actor,
        venue: Option<Venue>,
    ) -> Answer {
        let (app, cast) = (&stage.app, &stage.cast);
        let place = self.place(stage, actor, venue).await;
        let call = app.call_of(operation, |name| place.segment(cast, name));
        let call = match (self.fresh, cast.person(actor)) {
            (Fresh::Session, Some(person)) => {
                let mut person = person.clone();
                app.login(&mut person).await;
                call.by(&person)
            }
            _ => app.acted(call, cast, actor),
        };
        let call = if self.if_match { call.header("if-match", "*") } else { call };
        self.send(stage, call).await
    }

    async fn send(self, stage: &Stage, call: Call<'_>) -> Answer {
        let body: Value = match self.body {
            Body::Nothing => return call.await,
            Body::Json(text) => serde_json::from_str(text).expect("recipes are JSON"),
            Body::NewCommunity => {
                let slug = uuid::Uuid::new_v4().simple().to_string();
                json!({"slug": slug, "name": "Another", "visibility": "public"})
            }
            Body::Credentials => {
                let owner = &stage.cast.owner;
                json!({"email": owner.email, "password": owner.password})
            }
            Body::RefreshToken => {
                let mut owner = stage.cast.owner.clone();
                stage.app.login(&mut owner).await;
                json!({"refresh_token": owner.refresh_token})
            }
        };
        call.json(body).await
    }

    /// The shared place, or one of its own where the call uses something up. What is archived is never used up.
    async fn place(self, stage: &Stage, actor: Actor, venue: Option<Venue>) -> Place {
        let (app, cast) = (&stage.app, &stage.cast);
        let mut place = stage.place(venue).clone();
        let Some(venue) = venue.filter(|venue| *venue != Venue::Archived) else { return place };
        match self.fresh {
            Fresh::Nothing | Fresh::Session => {}
            Fresh::Community => {
                place.community = app.staffed_community(cast).await;
                app.set(cast, &place.community, venue).await;
            }
            Fresh::Event | Fresh::Rsvp => {
                let host = cast.person(Actor::Host).expect("the host is somebody");
                place.event = match venue {
                    Venue::Draft => app.draft(host, &place.community, None).await,
                    _ => app.event(host, &place.community, None).await,
                };
                if self.fresh == Fresh::Rsvp && venue != Venue::Draft {
                    app.attend(cast, actor, &place.event).await;
                }
            }
            Fresh::Webhook => {
                place.webhook =
                    app.webhook(cast, &place.community, "http://127.0.0.1:9/hook").await;
            }
        }
        place
    }
}
