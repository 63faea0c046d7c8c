//! A relation in a body: absent unless it was asked for, null if there is none that the caller may see.

use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, Schema, Type};

/// What another module shows of itself, within a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Related(Option<Value>);

impl Related {
    /// What was asked for; `None` if there is nothing, or nothing that the caller may see.
    pub(super) fn of(body: Option<impl Serialize>) -> Self {
        let value = serde_json::to_value(body).expect("DTOs have string keys and finite numbers");
        Self(Some(value))
    }

    /// Whether it was not asked for.
    pub(crate) fn is_absent(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for Related {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A relation of this schema for the documentation.
fn schema(name: &str, description: &str) -> Schema {
    OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null).build())
        .item(Ref::from_schema_name(name))
        .description(Some(description))
        .build()
        .into()
}

/// `availability` of an event.
pub(crate) fn availability() -> Schema {
    schema("EventAvailability", "How many seats are left. Only with `?expand=availability`.")
}

/// `community` of an event.
pub(crate) fn community() -> Schema {
    schema("Community", "The community that it belongs to. Only with `?expand=community`.")
}

/// `event` of an RSVP.
pub(crate) fn event() -> Schema {
    let description =
        "The event, null if it is not to be seen any more. Only with `?expand=event`.";
    schema("Event", description)
}

/// `membership` of a community.
pub(crate) fn membership() -> Schema {
    schema("Member", "One's own membership, null without one. Only with `?expand=membership`.")
}

/// `rsvp` of an event.
pub(crate) fn rsvp() -> Schema {
    schema("Rsvp", "One's own last RSVP, null without one. Only with `?expand=rsvp`.")
}
