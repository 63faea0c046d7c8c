//! What this module records.

use convene_contracts::event::{
    CapacityChange, EventCancelled, EventCapacityChanged, EventCreated, EventPublished,
    EventUpdated,
};
use convene_contracts::time::{LocalDateTime, UtcTimestamp};
use convene_contracts::{Change, Changes};
use convene_domain::event::{Capacity, Event, Fold, LocalTime};
use convene_domain::text::{Description, Reason};
use jiff::Timestamp;

use crate::kernel::changes::Diff;
use crate::kernel::events::{NewEvent, Recorder, public};

pub(super) fn created(recorder: &Recorder<'_>, event: &Event) -> NewEvent {
    let (schedule, plan) = (&event.schedule, event.schedule.plan());
    recorder.event(
        event.id,
        event.version,
        EventCreated {
            community_id: public(event.community),
            event_id: public(event.id),
            title: event.title.to_string(),
            starts_at: schedule.starts_at().into(),
            ends_at: schedule.ends_at().into(),
            starts_at_local: plan.starts_at_local.civil().into(),
            ends_at_local: plan.ends_at_local.civil().into(),
            time_zone: plan.time_zone.to_string(),
            capacity: event.capacity.map(Capacity::get),
        },
    )
}

pub(super) fn published(recorder: &Recorder<'_>, event: &Event) -> NewEvent {
    recorder.event(
        event.id,
        event.version,
        EventPublished {
            community_id: public(event.community),
            event_id: public(event.id),
            starts_at: event.schedule.starts_at().into(),
            ends_at: event.schedule.ends_at().into(),
            time_zone: event.schedule.plan().time_zone.to_string(),
        },
    )
}

pub(super) fn updated(
    recorder: &Recorder<'_>,
    event: &Event,
    version: i32,
    changed: Changes,
) -> NewEvent {
    let data =
        EventUpdated { community_id: public(event.community), event_id: public(event.id), changed };
    recorder.event(event.id, version, data)
}

pub(super) fn capacity_changed(
    recorder: &Recorder<'_>,
    old: &Event,
    new: &Event,
    version: i32,
) -> NewEvent {
    let capacity =
        Change { old: old.capacity.map(Capacity::get), new: new.capacity.map(Capacity::get) };
    let data = EventCapacityChanged {
        community_id: public(new.community),
        event_id: public(new.id),
        changed: CapacityChange { capacity },
    };
    recorder.event(new.id, version, data)
}

pub(super) fn cancelled(
    recorder: &Recorder<'_>,
    event: &Event,
    reason: Option<Reason>,
) -> NewEvent {
    let data = EventCancelled {
        community_id: public(event.community),
        event_id: public(event.id),
        reason: reason.map(String::from),
    };
    recorder.event(event.id, event.version, data)
}

/// The fields of the resource that differ, but for the capacity.
pub(super) fn differences(old: &Event, new: &Event) -> Changes {
    let local = |time: LocalTime| LocalDateTime::from(time.civil());
    let instant = |at: Option<Timestamp>| at.map(UtcTimestamp::from);
    Diff::between(old, new)
        .field("title", |event| event.title.as_str())
        .field("description", |event| event.description.as_ref().map(Description::as_str))
        .field("starts_at_local", |event| local(event.schedule.plan().starts_at_local))
        .field("ends_at_local", |event| local(event.schedule.plan().ends_at_local))
        .field("time_zone", |event| event.schedule.plan().time_zone.as_str())
        .field("fold", |event| event.schedule.plan().fold.map(Fold::as_str))
        .field("starts_at", |event| UtcTimestamp::from(event.schedule.starts_at()))
        .field("ends_at", |event| UtcTimestamp::from(event.schedule.ends_at()))
        .field("rsvp_opens_at", |event| instant(event.window.opens_at()))
        .field("rsvp_closes_at", |event| instant(event.window.closes_at()))
        .changes()
}
