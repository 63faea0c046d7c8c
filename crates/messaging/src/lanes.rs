//! Lanes: what happened to one subject is taken in order, what happened to different ones side by side. Consumers that do not
//! care for the order have their events spread evenly.
//!
//! Only events of one subject are ordered among themselves, so a consumer may take the others at the same time. An event's
//! lane follows from its subject alone: so events of one subject queue up behind each other, whoever decides on the lane,
//! and no list of what is under way is needed. The price is that a slow event also holds up the few subjects that happen to
//! share its lane, never those of other lanes.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use convene_application::kernel::events::{LoggedEvent, Order};
use serde::Deserialize;

/// The one member of an envelope that decides on the lane.
#[derive(Deserialize)]
struct Subject<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
}

/// The lane of an event among so many, from 0. An event without a subject, which the log does not hold, may take any.
pub(crate) fn lane(event: &LoggedEvent, order: Order, lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    let subject = match order {
        Order::OfSubject => serde_json::from_slice::<Subject<'_>>(&event.envelope).ok(),
        Order::Any => None,
    };
    match subject {
        Some(envelope) => envelope.subject.hash(&mut hasher),
        None => event.id.hash(&mut hasher),
    }
    let lanes = u64::try_from(lanes.max(1)).unwrap_or(u64::MAX);
    usize::try_from(hasher.finish() % lanes).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn event(number: u128, subject: &str) -> LoggedEvent {
        LoggedEvent {
            position: 1,
            id: Uuid::from_u128(number),
            event_type: "rsvp.confirmed".to_owned(),
            version: 1,
            community: None,
            envelope: Bytes::from(format!(
                r#"{{"id":"{number}","subject":"{subject}","data":{{}}}}"#
            )),
            replay: 0,
        }
    }

    #[test]
    fn events_of_one_subject_share_a_lane_and_the_subjects_spread() {
        let lane_of = |number, subject: &str| lane(&event(number, subject), Order::OfSubject, 8);
        assert_eq!(lane_of(1, "rsvp_a"), lane_of(2, "rsvp_a"));
        let taken: HashSet<_> = (0..100).map(|n| lane_of(n, &format!("rsvp_{n}"))).collect();
        assert_eq!(taken, (0..8).collect());
    }

    #[test]
    fn without_an_order_one_subject_has_every_lane() {
        let lane_of = |number| lane(&event(number, "rsvp_a"), Order::Any, 8);
        assert_eq!((0..100).map(lane_of).collect::<HashSet<_>>(), (0..8).collect());
    }

    #[test]
    fn every_event_has_a_lane() {
        assert_eq!(lane(&event(1, "rsvp_a"), Order::OfSubject, 1), 0);
        assert_eq!(lane(&event(1, "rsvp_a"), Order::OfSubject, 0), 0);
        let broken = LoggedEvent { envelope: Bytes::from_static(b"?"), ..event(1, "") };
        assert!(lane(&broken, Order::OfSubject, 8) < 8);
    }
}
