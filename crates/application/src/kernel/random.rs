//! Randomness as a parameter.

use convene_domain::ids::TypedId;
use jiff::Timestamp;
use uuid::Uuid;

/// A source of bytes that nobody can guess.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Random + '_ {
    /// A new `UUIDv7` (RFC 9562) of this instant: sorts by time to the millisecond.
    pub fn uuid(&self, now: Timestamp) -> Uuid {
        let mut tail = [0; 10];
        self.fill(&mut tail);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }

    /// A new typed identifier of this instant.
    pub fn id<T: TypedId>(&self, now: Timestamp) -> T {
        T::from_uuid(self.uuid(now))
    }

    /// So many random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}
