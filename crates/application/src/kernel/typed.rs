//! Typed identifiers in serialised payloads, as their text: `#[serde(with = "typed")]`.

use convene_domain::ids::TypedId;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes the identifier as text.
///
/// # Errors
/// The serializer's.
pub fn serialize<T: TypedId, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Reads an identifier of this kind.
///
/// # Errors
/// Text that is no identifier of this kind.
pub fn deserialize<'de, T: TypedId, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
