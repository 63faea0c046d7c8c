//! Which events an endpoint gets.

/// The most patterns of one endpoint.
pub const MAX_EVENT_TYPES: usize = 100;

/// Which events an endpoint gets, as patterns: `*` for all, `module.*` for those of a module, or one type. Never empty, and
/// no pattern twice. Whether there are events of such a type is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTypes(Vec<String>);

/// Why a list of patterns is none that an endpoint can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventTypesError {
    /// There is none, so the endpoint would get nothing.
    #[error("must have at least one entry")]
    Empty,
    /// There are more than [`MAX_EVENT_TYPES`].
    #[error("must have at most {MAX_EVENT_TYPES} entries")]
    TooMany,
}

impl EventTypes {
    /// Keeps the patterns in their order, each once.
    ///
    /// # Errors
    /// [`EventTypesError`]; repeated patterns count.
    pub fn new(patterns: Vec<String>) -> Result<Self, EventTypesError> {
        if patterns.is_empty() {
            return Err(EventTypesError::Empty);
        }
        if patterns.len() > MAX_EVENT_TYPES {
            return Err(EventTypesError::TooMany);
        }
        let mut kept: Vec<String> = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            if !kept.contains(&pattern) {
                kept.push(pattern);
            }
        }
        Ok(Self(kept))
    }

    /// The patterns.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Whether events of this type are wanted.
    #[must_use]
    pub fn include(&self, event_type: &str) -> bool {
        patterns_matching(event_type).iter().any(|pattern| self.0.contains(pattern))
    }
}

/// All patterns that match an event type. There are no others, so a store finds the endpoints that want an event by
/// comparing lists, without knowing what a pattern means.
#[must_use]
pub fn patterns_matching(event_type: &str) -> [String; 3] {
    let module = event_type.split_once('.').map_or(event_type, |(module, _)| module);
    ["*".to_owned(), format!("{module}.*"), event_type.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(patterns: &[&str]) -> Result<EventTypes, EventTypesError> {
        EventTypes::new(patterns.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn patterns_are_kept_in_order_and_once() {
        let kept = types(&["rsvp.*", "event.created", "rsvp.*"]).unwrap();
        assert_eq!(kept.as_slice(), ["rsvp.*", "event.created"]);
        assert_eq!(types(&[]), Err(EventTypesError::Empty));
        assert_eq!(types(&["*"; 101]), Err(EventTypesError::TooMany));
    }

    #[test]
    fn a_pattern_includes_what_it_says() {
        for (pattern, event_type, included) in [
            ("*", "rsvp.confirmed", true),
            ("rsvp.*", "rsvp.confirmed", true),
            ("rsvp.*", "event.created", false),
            ("rsvp.*", "rsvps.confirmed", false),
            ("event.created", "event.created", true),
            ("event.created", "event.cancelled", false),
        ] {
            assert_eq!(
                types(&[pattern]).unwrap().include(event_type),
                included,
                "{pattern} {event_type}"
            );
        }
    }
}
