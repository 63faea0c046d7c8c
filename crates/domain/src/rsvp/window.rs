//! When an event takes RSVPs.

use jiff::Timestamp;

use crate::event::Status;

/// What decides whether an event takes RSVPs at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admissibility {
    /// The event's status.
    pub status: Status,
    /// When the event starts; nobody joins from then on.
    pub starts_at: Timestamp,
    /// When the event ends; nothing changes from then on.
    pub ends_at: Timestamp,
    /// First instant at which people may join; none means at once.
    pub opens_at: Option<Timestamp>,
    /// First instant at which people may join no longer; none means the start.
    pub closes_at: Option<Timestamp>,
    /// Whether the community is archived, hence read-only.
    pub community_archived: bool,
}

/// Why an event takes no RSVPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The community is archived.
    #[error("the community is archived")]
    CommunityArchived,
    /// The event is a draft.
    #[error("the event is not published")]
    NotPublished,
    /// The event was cancelled.
    #[error("the event was cancelled")]
    EventCancelled,
    /// The window has not opened.
    #[error("RSVPs open later")]
    NotYetOpen,
    /// The window has closed.
    #[error("RSVPs have closed")]
    WindowOver,
    /// The event has started.
    #[error("the event has started")]
    Started,
    /// The event has ended.
    #[error("the event has ended")]
    Ended,
}

impl Admissibility {
    /// Whether seats may be claimed, or a party changed, at `now`. The window is half-open: `[opens_at, closes_at)`.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn may_claim(&self, now: Timestamp) -> Result<(), Closed> {
        if self.community_archived {
            return Err(Closed::CommunityArchived);
        }
        match self.status {
            Status::Draft => return Err(Closed::NotPublished),
            Status::Cancelled => return Err(Closed::EventCancelled),
            Status::Published => {}
        }
        if now >= self.ends_at {
            Err(Closed::Ended)
        } else if now >= self.starts_at {
            Err(Closed::Started)
        } else if self.opens_at.is_some_and(|opens| now < opens) {
            Err(Closed::NotYetOpen)
        } else if self.closes_at.is_some_and(|closes| now >= closes) {
            Err(Closed::WindowOver)
        } else {
            Ok(())
        }
    }

    /// Whether an RSVP may be withdrawn at `now`: until the event ends, whatever the window says.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn may_withdraw(&self, now: Timestamp) -> Result<(), Closed> {
        if self.community_archived {
            Err(Closed::CommunityArchived)
        } else if now >= self.ends_at {
            Err(Closed::Ended)
        } else {
            Ok(())
        }
    }

    /// Whether seats that become free go to those who wait: only while the event is going to happen.
    #[must_use]
    pub fn promotes(&self, now: Timestamp) -> bool {
        !self.community_archived && self.status == Status::Published && now < self.ends_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const fn event() -> Admissibility {
        Admissibility {
            status: Status::Published,
            starts_at: Timestamp::constant(100, 0),
            ends_at: Timestamp::constant(200, 0),
            opens_at: Some(Timestamp::constant(10, 0)),
            closes_at: Some(Timestamp::constant(90, 0)),
            community_archived: false,
        }
    }

    #[test]
    fn the_window_is_half_open() {
        assert_eq!(event().may_claim(at(9)), Err(Closed::NotYetOpen));
        assert_eq!(event().may_claim(at(10)), Ok(()));
        assert_eq!(event().may_claim(at(89)), Ok(()));
        assert_eq!(event().may_claim(at(90)), Err(Closed::WindowOver));
        assert_eq!(event().may_claim(at(100)), Err(Closed::Started));
        assert_eq!(event().may_claim(at(200)), Err(Closed::Ended));
    }

    #[test]
    fn without_a_window_the_start_closes() {
        let event = Admissibility { opens_at: None, closes_at: None, ..event() };
        assert_eq!(event.may_claim(at(99)), Ok(()));
        assert_eq!(event.may_claim(at(100)), Err(Closed::Started));
    }

    #[test]
    fn withdrawing_works_until_the_end() {
        assert_eq!(event().may_withdraw(at(199)), Ok(()));
        assert_eq!(event().may_withdraw(at(200)), Err(Closed::Ended));
    }

    #[test]
    fn what_will_not_happen_neither_takes_nor_promotes() {
        for (status, reason) in
            [(Status::Draft, Closed::NotPublished), (Status::Cancelled, Closed::EventCancelled)]
        {
            let event = Admissibility { status, ..event() };
            assert_eq!(event.may_claim(at(50)), Err(reason));
            assert!(!event.promotes(at(50)));
        }
        let archived = Admissibility { community_archived: true, ..event() };
        assert_eq!(archived.may_claim(at(50)), Err(Closed::CommunityArchived));
        assert_eq!(archived.may_withdraw(at(50)), Err(Closed::CommunityArchived));
        assert!(!archived.promotes(at(50)));
    }
}
