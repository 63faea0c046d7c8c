//! Typed identifiers in bodies: a DTO's field is `id: id::Event`.

use std::borrow::Cow;
use std::fmt;

use convene_domain::ids::{
    CommunityId, DeliveryId, EventId, ReplayId, RsvpId, TypedId, UserId, WebhookId,
};
use serde::{Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::extract::PathSegment;

/// An id as a field of a reply: `event_01h455vb4pex5vsknk084sn02q`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id<T>(pub T);

impl<T> From<T> for Id<T> {
    fn from(id: T) -> Self {
        Self(id)
    }
}

impl<T: fmt::Display> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: TypedId> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<T: TypedId> PartialSchema for Id<T> {
    fn schema() -> RefOr<Schema> {
        let mut schema = id_schema::<T>();
        let form = "and 26 characters of base32, which hold a UUIDv7";
        schema.description = Some(format!("An id of this kind: `{}_` {form}.", T::PREFIX));
        schema.into()
    }
}

impl<T: TypedId + PathSegment> ToSchema for Id<T> {
    fn name() -> Cow<'static, str> {
        let (first, rest) = T::NAME.split_at(1);
        format!("{}{rest}Id", first.to_ascii_uppercase()).into()
    }
}

/// A person's id. (utoipa's derive wants names without type parameters.)
pub type User = Id<UserId>;
/// A community's id.
pub type Community = Id<CommunityId>;
/// An event's id.
pub type Event = Id<EventId>;
/// An RSVP's id.
pub type Rsvp = Id<RsvpId>;
/// A webhook endpoint's id.
pub type Webhook = Id<WebhookId>;
/// A delivery's id.
pub type Delivery = Id<DeliveryId>;
/// A replay's id.
pub type Replay = Id<ReplayId>;

/// A string that is an id of this kind.
pub(crate) fn id_schema<T: TypedId>() -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", T::PREFIX)))
        .examples([example::<T>()])
        .build()
}

/// The id that documentation shows.
pub(crate) fn example<T: TypedId>() -> String {
    T::from_uuid(uuid::uuid!("019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37")).to_string()
}
