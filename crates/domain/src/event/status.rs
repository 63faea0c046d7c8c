//! The life of an event: draft → published → cancelled, or a draft that is cancelled at once.

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Only its organisers see it.
    Draft,
    /// It is announced and takes RSVPs.
    Published,
    /// It will not take place.
    Cancelled,
}

/// The event's status does not allow what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransition {
    /// Only drafts are published.
    #[error("only a draft can be published")]
    NotADraft,
    /// It was cancelled before.
    #[error("the event was cancelled")]
    Cancelled,
}

impl Status {
    const ALL: [Self; 3] = [Self::Draft, Self::Published, Self::Cancelled];

    /// The stable name of the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Draft → published.
    ///
    /// # Errors
    /// [`InvalidTransition`] from anywhere else.
    pub const fn publish(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Draft => Ok(Self::Published),
            Self::Published => Err(InvalidTransition::NotADraft),
            Self::Cancelled => Err(InvalidTransition::Cancelled),
        }
    }

    /// Draft or published → cancelled.
    ///
    /// # Errors
    /// [`InvalidTransition`] if it was cancelled before.
    pub const fn cancel(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Draft | Self::Published => Ok(Self::Cancelled),
            Self::Cancelled => Err(InvalidTransition::Cancelled),
        }
    }

    /// Refuses changes of what will not take place.
    ///
    /// # Errors
    /// [`InvalidTransition`] once it is cancelled.
    pub const fn ensure_editable(self) -> Result<(), InvalidTransition> {
        match self {
            Self::Draft | Self::Published => Ok(()),
            Self::Cancelled => Err(InvalidTransition::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_state_machine() {
        use Status::{Cancelled, Draft, Published};
        let cancelled = Err(InvalidTransition::Cancelled);
        assert_eq!(Draft.publish(), Ok(Published));
        assert_eq!(Published.publish(), Err(InvalidTransition::NotADraft));
        assert_eq!(Cancelled.publish(), cancelled);
        assert_eq!(Draft.cancel(), Ok(Cancelled));
        assert_eq!(Published.cancel(), Ok(Cancelled));
        assert_eq!(Cancelled.cancel(), cancelled);
        for status in Status::ALL {
            assert_eq!(status.ensure_editable().is_ok(), status != Cancelled);
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
    }
}
