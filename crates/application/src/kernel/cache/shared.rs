//! What processes share.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::Stale;

/// Keeps bytes for all processes, for a while. Nothing in it is the truth: it may lose everything at any time, and it may
/// be away, which is the same to who asks as having nothing.
#[async_trait]
pub trait SharedLayer: Send + Sync {
    /// What is kept under a key.
    async fn get(&self, key: &str) -> Option<Bytes>;

    /// Keeps bytes under a key for so long.
    async fn put(&self, key: &str, bytes: Bytes, keep: Duration);
}

/// A value that can lie in the shared layer.
pub trait Record: Send + Sync + Sized + 'static {
    /// The form of the bytes. Another form has another name, such as `event.v2`, so that the processes of two releases
    /// never read each other's.
    const FORM: &'static str;

    /// The bytes; none for what is not worth sharing.
    fn encode(&self) -> Option<Vec<u8>>;

    /// Reads the bytes; none if they have another form.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// About how many bytes of memory it takes.
    fn weight(&self) -> u32;
}

/// A value on its way: when its loading began, by the store's time, and its bytes.
pub(super) struct Parcel<T> {
    pub(super) loaded_at: Timestamp,
    pub(super) value: T,
}

impl<T: Record> Parcel<T> {
    pub(super) fn pack(loaded_at: Timestamp, value: &T) -> Option<Bytes> {
        let value = value.encode()?;
        let mut bytes = Vec::with_capacity(8 + value.len());
        bytes.extend_from_slice(&loaded_at.as_microsecond().to_be_bytes());
        bytes.extend_from_slice(&value);
        Some(bytes.into())
    }

    pub(super) fn open(bytes: &[u8]) -> Option<Self> {
        let (time, value) = bytes.split_first_chunk::<8>()?;
        let loaded_at = Timestamp::from_microsecond(i64::from_be_bytes(*time)).ok()?;
        Some(Self { loaded_at, value: T::decode(value)? })
    }
}

/// The key of a value in the shared layer: the store, the form, the ids.
pub(super) fn shared_key(epoch: uuid::Uuid, form: &str, key: &Stale) -> String {
    let epoch = epoch.simple();
    match key.part {
        None => format!("{epoch}:{form}:{}", key.subject.simple()),
        Some(part) => format!("{epoch}:{form}:{}:{}", key.subject.simple(), part.simple()),
    }
}
