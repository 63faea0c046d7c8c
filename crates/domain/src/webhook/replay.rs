//! Many deliveries sent again at once.

/// Which of an endpoint's deliveries are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplayScope {
    /// Those that failed at every attempt.
    Failed,
    /// All, also those that succeeded.
    All,
    /// Those that were never made: of events that the endpoint wants and has no delivery of.
    Missing,
}

impl ReplayScope {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::All => "all",
            Self::Missing => "missing",
        }
    }

    /// The scope with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Failed, Self::All, Self::Missing].into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Where a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplayStatus {
    /// A job goes on with it.
    Running,
    /// Everything has been handed over for sending.
    Completed,
    /// Somebody stopped it; what it had handed over is sent.
    Cancelled,
}

impl ReplayStatus {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}
