//! TypeIDs as they appear in events: a prefix that names the kind, `_`, and a UUIDv7 in 26
//! characters of Crockford's base 32 (<https://github.com/jetify-com/typeid>).
//!
//! Consumers should treat ids as opaque strings. One Rust type per kind keeps a producer from
//! swapping two of them.

use std::fmt;

/// An id of one kind, rendered.
pub trait TypeId: Clone + fmt::Debug + fmt::Display {
    /// What stands before the `_`.
    const PREFIX: &'static str;

    /// The id that documentation shows.
    fn example() -> Self;
}

/// Declares an id of one kind. The ids that several modules speak of are declared below; an id of one
/// module alone can be declared in that module.
macro_rules! type_id {
    ($(#[doc = $doc:literal])+ $name:ident = $example:literal, prefix $prefix:literal) => {
        $(#[doc = $doc])+
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The whole id, prefix included.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $crate::ids::TypeId for $name {
            const PREFIX: &'static str = $prefix;

            fn example() -> Self {
                Self(concat!($prefix, "_", $example).to_owned())
            }
        }

        /// Takes a rendered TypeID as it is: whoever renders it has already made it well formed.
        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
                })
            }
        }
    };
}
#[allow(
    unused_imports,
    reason = "for modules with ids of their own; the first ones have none"
)]
pub(crate) use type_id;

type_id! {
    /// A person's account.
    UserId = "01mg05crrsfpkt7dx9d6rg53q3", prefix "user"
}
type_id! {
    /// A community: the tenant to which everything below belongs.
    CommunityId = "01mg80hgg3ef2txsr5jkkrp3yd", prefix "comm"
}
type_id! {
    /// A person's membership of a community.
    MemberId = "01mgg1nb9pef28yyges0jbb78h", prefix "member"
}
type_id! {
    /// A community's event: something that people attend.
    EventId = "01mgqp723rffbrnr3r9hw5b92h", prefix "event"
}
type_id! {
    /// One person's answer to the invitation of one event.
    RsvpId = "01mgz7z9ynfjhtx5dy8nb2nwsx", prefix "rsvp"
}
type_id! {
    /// An endpoint that a community has registered for webhooks.
    WebhookId = "01mh6se5n9fd4bw0rsjrkqns3j", prefix "hook"
}
type_id! {
    /// The delivery of one event to one webhook endpoint.
    DeliveryId = "01mhexx8dsemavgzzvwet8wnnn", prefix "hdlv"
}
