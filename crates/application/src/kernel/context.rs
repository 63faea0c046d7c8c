//! Who asks, and through which request: passed to every use case that changes something.

use std::net::IpAddr;

use convene_domain::ids::{SessionId, UserId};

/// A person with a valid access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The person.
    pub user: UserId,
    /// The login that the token belongs to.
    pub session: SessionId,
}

/// Who caused a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// Convene itself: a job, a scheduled duty, an operator's command.
    System,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::System => f.write_str("system"),
        }
    }
}

/// The request behind a use case, as events and audit entries remember it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Who caused the change.
    pub actor: Actor,
    /// The login, if the actor used one.
    pub session: Option<SessionId>,
    /// The id that the client sees, and the `correlationid` of the events.
    pub request_id: String,
    /// The W3C trace context to continue.
    pub traceparent: Option<String>,
    /// The client's address, through trusted proxies alone.
    pub client_ip: Option<IpAddr>,
    /// The client's user agent, at most 256 characters.
    pub user_agent: Option<String>,
}

impl RequestContext {
    /// The context of work that no request caused.
    pub fn system(request_id: impl Into<String>) -> Self {
        Self {
            actor: Actor::System,
            session: None,
            request_id: request_id.into(),
            traceparent: None,
            client_ip: None,
            user_agent: None,
        }
    }
}
