//! What callers are told about events that do not fit together, or do not change.

use convene_domain::event::{Edge, InvalidTransition, Mistake, Refusal, ScheduleError};

use crate::kernel::error::{Code, Failure, FieldError};

/// All mistakes, each at its field. A time that clocks skip or repeat gives the failure its own code.
pub(super) fn invalid(mistakes: Vec<Mistake>) -> Failure {
    let is = |wanted: fn(&ScheduleError) -> bool| {
        mistakes.iter().any(|mistake| matches!(mistake, Mistake::Schedule(error) if wanted(error)))
    };
    let (code, detail) = if is(|error| matches!(error, ScheduleError::Nonexistent(_))) {
        (Code::NonexistentTime, "A local time does not exist in the time zone.")
    } else if is(|error| matches!(error, ScheduleError::Ambiguous(_))) {
        (Code::AmbiguousTime, "A local time occurs twice in the time zone.")
    } else {
        (Code::ValidationFailed, "The request has invalid fields.")
    };
    Failure {
        errors: mistakes.into_iter().map(field_error).collect(),
        ..Failure::new(code, detail)
    }
}

fn field_error(mistake: Mistake) -> FieldError {
    let (field, code) = match mistake {
        Mistake::Schedule(ScheduleError::Nonexistent(edge)) => (local(edge), "nonexistent_time"),
        Mistake::Schedule(ScheduleError::Ambiguous(edge)) => (local(edge), "ambiguous_time"),
        Mistake::Schedule(ScheduleError::OutOfRange(edge)) => (local(edge), "out_of_range"),
        Mistake::Schedule(ScheduleError::EndsTooEarly) => (local(Edge::End), "invalid_order"),
        Mistake::Window(_) => ("rsvp_closes_at", "invalid_order"),
    };
    FieldError::field(field, code, mistake.to_string())
}

fn local(edge: Edge) -> &'static str {
    match edge {
        Edge::Start => "starts_at_local",
        Edge::End => "ends_at_local",
    }
}

pub(super) fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Transition(transition) => invalid_transition(transition),
        Refusal::CapacityBelowTaken { taken } => Failure::new(
            Code::CapacityBelowConfirmed,
            format!("The capacity cannot fall below the {taken} seats that are taken."),
        ),
    }
}

pub(super) fn invalid_transition(transition: InvalidTransition) -> Failure {
    Failure::new(
        Code::InvalidTransition,
        match transition {
            InvalidTransition::NotADraft => "Only a draft can be published.",
            InvalidTransition::Cancelled => "The event was cancelled.",
        },
    )
}
