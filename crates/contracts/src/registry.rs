//! Every event type there is, and the patterns by which subscribers choose among them.

use std::{fmt, str::FromStr, sync::LazyLock};

use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    CloudEvent, DecodeError, EventPayload, SchemaBase, community, envelope::routing_key, event,
    ids::TypeId, rsvp, schema, user, webhook,
};

/// Every version of every event type that Convene publishes. Schemas, AsyncAPI, documentation and
/// tests iterate it.
pub static EVENT_TYPES: LazyLock<Vec<EventType>> = LazyLock::new(|| {
    [
        user::EVENT_TYPES,
        community::EVENT_TYPES,
        event::EVENT_TYPES,
        rsvp::EVENT_TYPES,
        webhook::EVENT_TYPES,
    ]
    .concat()
});

/// One version of one event type.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// The type, `module.past_tense`.
    pub name: &'static str,
    /// The version of the payload, from 1.
    pub version: u16,
    /// The module that publishes it.
    pub module: &'static str,
    /// The prefix of its subjects' TypeIDs.
    pub subject_prefix: &'static str,
    schema: fn(&SchemaBase) -> Value,
    example: fn(&SchemaBase) -> Value,
    round_trip: fn(&CloudEvent) -> Result<Value, DecodeError>,
}

impl EventType {
    /// Describes the payload `P`.
    pub(crate) const fn of<P: EventPayload>() -> Self {
        Self {
            name: P::TYPE,
            version: P::VERSION,
            module: P::MODULE,
            subject_prefix: P::Subject::PREFIX,
            schema: schema::payload::<P>,
            example: |base| json!(CloudEvent::<P>::example(base)),
            round_trip: |event| event.decode::<P>().map(|payload| json!(payload)),
        }
    }

    /// The newest version of a type.
    #[must_use]
    pub fn latest(name: &str) -> Option<&'static Self> {
        EVENT_TYPES.iter().filter(|known| known.name == name).max_by_key(|known| known.version)
    }

    /// The type and version that a routing key, such as `rsvp.confirmed.v1`, names.
    #[must_use]
    pub fn by_routing_key(key: &str) -> Option<&'static Self> {
        EVENT_TYPES.iter().find(|known| known.routing_key() == key)
    }

    /// `{type}.v{version}`, which is also the name of its schema document.
    #[must_use]
    pub fn routing_key(&self) -> String {
        routing_key(self.name, self.version)
    }

    /// The JSON Schema (draft 2020-12) of the payload.
    #[must_use]
    pub fn schema(&self, base: &SchemaBase) -> Value {
        (self.schema)(base)
    }

    /// An example: a whole envelope with its payload.
    #[must_use]
    pub fn example(&self, base: &SchemaBase) -> Value {
        (self.example)(base)
    }

    /// Reads an event's data as this type's payload and writes it again, which shows what a
    /// consumer would see of it.
    ///
    /// # Errors
    ///
    /// The event is of another type or version, or its data does not fit the payload.
    pub fn round_trip(&self, event: &CloudEvent) -> Result<Value, DecodeError> {
        (self.round_trip)(event)
    }
}

/// Whether Convene publishes events of this type, in any version.
#[must_use]
pub fn is_known_type(name: &str) -> bool {
    EventType::latest(name).is_some()
}

/// Which events a subscriber wants: all (`*`), those of a module (`rsvp.*`), or one type
/// (`rsvp.confirmed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventTypePattern {
    /// Every event, written `*`.
    Any,
    /// Every event of a module, written `module.*`.
    Module(&'static str),
    /// Every version of one type.
    Exact(&'static str),
}

impl EventTypePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// It names a module or a type that does not exist.
    pub fn parse(text: &str) -> Result<Self, UnknownEventType> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let pattern = match text.strip_suffix(".*") {
            Some(module) => EVENT_TYPES
                .iter()
                .find(|known| known.module == module)
                .map(|known| Self::Module(known.module)),
            None => EventType::latest(text).map(|known| Self::Exact(known.name)),
        };
        pattern.ok_or_else(|| UnknownEventType(text.to_owned()))
    }

    /// Whether an event of this type is wanted.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Module(module) => {
                event_type.split_once('.').is_some_and(|(prefix, _)| prefix == *module)
            }
            Self::Exact(name) => event_type == *name,
        }
    }
}

impl FromStr for EventTypePattern {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        Self::parse(text)
    }
}

impl fmt::Display for EventTypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Module(module) => write!(f, "{module}.*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// A pattern that could never match an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no event type: use `*`, `module.*` or a type such as `rsvp.confirmed`")]
pub struct UnknownEventType(pub String);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn types_are_unique_and_well_formed() {
        let mut keys = HashSet::new();
        for known in EVENT_TYPES.iter() {
            assert!(keys.insert(known.routing_key()), "{} is listed twice", known.routing_key());
            let (module, past_tense) = known.name.split_once('.').expect("two segments");
            assert_eq!(module, known.module);
            assert!(past_tense.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{past_tense}");
            assert!(known.version >= 1);
        }
    }

    #[test]
    fn an_examples_subject_is_of_the_declared_kind() {
        for known in EVENT_TYPES.iter() {
            let example = known.example(&SchemaBase::default());
            let subject = example["subject"].as_str().unwrap();
            assert_eq!(subject.split_once('_').unwrap().0, known.subject_prefix, "{}", known.name);
        }
    }

    #[test]
    fn a_type_is_found_by_name_and_by_routing_key() {
        assert!(is_known_type("community.member_joined"));
        assert!(!is_known_type("community"));
        assert_eq!(EventType::latest("rsvp.confirmed").unwrap().version, 1);
        assert_eq!(EventType::by_routing_key("rsvp.confirmed.v1").unwrap().name, "rsvp.confirmed");
        assert!(EventType::by_routing_key("rsvp.confirmed.v2").is_none());
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, event_type, matches) in [
            ("*", "rsvp.confirmed", true),
            ("rsvp.*", "rsvp.confirmed", true),
            ("rsvp.*", "event.created", false),
            ("rsvp.*", "rsvp", false),
            ("rsvp.*", "rsvps.confirmed", false),
            ("event.created", "event.created", true),
            ("event.created", "event.cancelled", false),
        ] {
            let parsed = EventTypePattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(event_type), matches, "{pattern} {event_type}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for text in ["", "**", ".*", "rsvp", "rsvp.", "rsvp.con*", "nope.*", "rsvp.nope", " *"] {
            assert_eq!(
                EventTypePattern::parse(text),
                Err(UnknownEventType(text.to_owned())),
                "{text}"
            );
        }
    }
}
