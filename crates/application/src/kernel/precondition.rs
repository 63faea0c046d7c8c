//! `If-Match`: a change that must not overwrite another (RFC 9110 §13.1.1).

use super::error::{Code, Failure};

/// The tags that the client accepts as current, with the way to tell the tag of a resource; only the HTTP layer knows
/// bytes.
#[derive(Debug)]
pub struct IfMatch<T> {
    /// What the client sent.
    pub tags: Tags,
    /// The tag of a resource as it is now.
    pub etag: fn(&T) -> String,
}

/// What an `If-Match` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// There was none.
    Absent,
    /// `*`: whatever is there.
    Any,
    /// One of these strong tags.
    OneOf(Vec<String>),
}

impl<T> IfMatch<T> {
    /// Lets the change pass if the resource is one of those that the client knows.
    ///
    /// # Errors
    /// 428 without the header, 412 if the resource has changed.
    pub fn check(&self, current: &T) -> Result<(), Failure> {
        match &self.tags {
            Tags::Any => Ok(()),
            Tags::OneOf(tags) if tags.contains(&(self.etag)(current)) => Ok(()),
            Tags::OneOf(_) => Err(Failure::new(
                Code::PreconditionFailed,
                "The resource has changed. Read it again and repeat the change with its new ETag.",
            )),
            Tags::Absent => Err(Failure::new(
                Code::PreconditionRequired,
                "This change needs an If-Match header with the resource's ETag.",
            )),
        }
    }
}
