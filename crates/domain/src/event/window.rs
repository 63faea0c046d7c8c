//! The time in which an event takes RSVPs, as its organisers set it.

use jiff::Timestamp;

/// `[opens_at, closes_at)`; each end may be left open, and neither outlives the start of the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RsvpWindow {
    opens_at: Option<Timestamp>,
    closes_at: Option<Timestamp>,
}

/// The window would close before it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be later than rsvp_opens_at")]
pub struct EmptyWindow;

impl RsvpWindow {
    /// A window that is open for some time.
    ///
    /// # Errors
    /// [`EmptyWindow`].
    pub fn new(
        opens_at: Option<Timestamp>,
        closes_at: Option<Timestamp>,
    ) -> Result<Self, EmptyWindow> {
        match (opens_at, closes_at) {
            (Some(opens), Some(closes)) if closes <= opens => Err(EmptyWindow),
            _ => Ok(Self { opens_at, closes_at }),
        }
    }

    /// First instant at which people may join; none means as soon as the event is published.
    #[must_use]
    pub fn opens_at(&self) -> Option<Timestamp> {
        self.opens_at
    }

    /// First instant at which people may join no longer; none means the start of the event.
    #[must_use]
    pub fn closes_at(&self) -> Option<Timestamp> {
        self.closes_at
    }
}
