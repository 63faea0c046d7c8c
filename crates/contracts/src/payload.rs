//! What every payload has in common.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::ids::{CommunityId, TypeId};

/// The `data` of one version of one event type.
///
/// Doc comments of the type and its fields become descriptions in its JSON Schema: write them for
/// its readers. A member that joins a published version must be an `Option` with
/// `skip_serializing_if`, since events recorded earlier lack it.
pub trait EventPayload: Serialize + DeserializeOwned + JsonSchema + 'static {
    /// The id of the aggregate that the event is about; events of one subject are ordered.
    type Subject: TypeId;

    /// The event type, `module.past_tense`.
    const TYPE: &'static str;

    /// The version of this payload, from 1; raised only by a breaking change.
    const VERSION: u16;

    /// The module that publishes the event: the part of [`TYPE`](Self::TYPE) before the dot. Not to
    /// be overridden.
    const MODULE: &'static str = module_of(Self::TYPE);

    /// The community in which it happened; `None` for what happens to an account.
    fn community_id(&self) -> Option<&CommunityId>;

    /// The payload that documentation shows and from which the first fixture is recorded.
    fn example() -> Self;
}

/// The part of an event type before the dot; the whole text if there is none.
const fn module_of(event_type: &'static str) -> &'static str {
    let bytes = event_type.as_bytes();
    let mut end = 0;
    while end < bytes.len() && bytes[end] != b'.' {
        end += 1;
    }
    event_type.split_at(end).0
}

/// One member before and after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change<T = Value> {
    /// The value before the change; null if there was none.
    pub old: T,
    /// The value after the change; null if there is none.
    pub new: T,
}

/// The members of a resource that changed, by name as the HTTP API spells them.
pub type Changes = BTreeMap<String, Change>;

/// Declares a vocabulary: an enum of strings that may gain values within a version.
///
/// Its schema is a plain string with the known values in `x-extensible-enum`, since `enum` would
/// make a validating consumer refuse a later value. For the same reason an unknown value is read
/// into `Other` and passed on unchanged.
macro_rules! vocabulary {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $($(#[doc = $variant_doc:literal])+ $variant:ident = $value:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $variant_doc])+ #[serde(rename = $value)] $variant,)+
            /// A value that joined the vocabulary later than this code was built. Producers never
            /// send it.
            #[serde(untagged)]
            Other(String),
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "x-extensible-enum": [$($value),+] })
            }
        }
    };
}
pub(crate) use vocabulary;
