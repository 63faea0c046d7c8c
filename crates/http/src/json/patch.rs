//! Merge patch (RFC 7396): absent keeps, `null` clears, a value sets.

use serde::{Deserialize, Deserializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A field of a merge patch that may be cleared. Give it `#[serde(default)]`, which makes an absent field [`Patch::Keep`],
/// and in the schema `#[schema(value_type = Option<…>)]` with the type of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field was absent: leave it as it is.
    #[default]
    Keep,
    /// The field was `null`: clear it.
    Clear,
    /// The field had a value: set it.
    Set(T),
}

impl<T> Patch<T> {
    /// Applies a function to the value, if there is one.
    pub fn map<U>(self, value: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(set) => Patch::Set(value(set)),
        }
    }

    /// Applies a function that may fail to the value, if there is one.
    ///
    /// # Errors
    /// The function's.
    pub fn try_map<U, E>(self, value: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        match self {
            Self::Keep => Ok(Patch::Keep),
            Self::Clear => Ok(Patch::Clear),
            Self::Set(set) => value(set).map(Patch::Set),
        }
    }

    /// `None` to keep, `Some(None)` to clear, `Some(Some(value))` to set: for use cases that know nothing of patches.
    pub fn into_option(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

/// Lets `#[garde(inner(…))]` check the value that is set.
impl<T> garde::rules::inner::Inner<T> for Patch<T> {
    type Key = garde::error::NoKey;

    fn validate_inner<F: FnMut(&T, &Self::Key)>(&self, mut check: F) {
        if let Self::Set(value) = self {
            check(value, &garde::error::NoKey::default());
        }
    }
}

impl<T> PartialSchema for Patch<T>
where
    Option<T>: PartialSchema,
{
    fn schema() -> RefOr<Schema> {
        Option::<T>::schema()
    }
}

impl<T: ToSchema> ToSchema for Patch<T>
where
    Option<T>: PartialSchema,
{
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// For a field of a merge patch that may be changed but not cleared: `null` is a mistake instead of absence. Use
/// `#[serde(default, deserialize_with = "present")]` on an `Option`, and `#[schema(nullable = false)]` beside it.
///
/// # Errors
/// The value's.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
