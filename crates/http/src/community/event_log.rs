//! The route of a community's event log.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use convene_application::community::event_log::type_filter;
use convene_application::kernel::error::{Checked, Failure};
use convene_application::kernel::events::LoggedEvent;
use convene_application::kernel::log::TypeFilter;
use convene_application::kernel::page::PageQuery;
use convene_domain::community::CommunityRef;
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Service;
use crate::extract::{Caller, List, ListQuery, PathId};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// List the recorded events of a community by position, oldest first; for its owner and admins.
///
/// Nothing ever appears before a cursor that was given out, so following `next_cursor` misses nothing. After the last page,
/// ask again with the cursor that led to it.
#[utoipa::path(
    tag = "community",
    operation_id = "list_event_log",
    params(PathId<CommunityRef>, List<EventLogFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<RecordedEvent>)),
)]
#[get("/v1/communities/{community}/event-log")]
pub(super) async fn read_event_log(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    list: List<EventLogFilter>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.and_then(|query| filtered(&query));
    let read = async move {
        let page = service.event_log.page(caller, &community, query).await?;
        page.try_map(RecordedEvent::try_from)
    };
    Ok(frame.reply(http.run(read).await?))
}

/// Which recorded events.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventLogFilter {
    /// Those of this type, or of a module's types: `rsvp.confirmed`, `rsvp.*`.
    #[garde(skip)]
    #[param(example = "rsvp.*")]
    r#type: Option<String>,
}

fn filtered(query: &ListQuery<EventLogFilter>) -> Checked<(TypeFilter, PageQuery)> {
    match type_filter(query.filter.r#type.as_deref()) {
        Ok(filter) => Ok((filter, query.page)),
        Err(mistake) => Err(Failure {
            detail: "The query has invalid parameters.".into(),
            ..Failure::invalid(vec![mistake])
        }),
    }
}

/// An event, byte for byte as it was recorded and published.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct RecordedEvent(Box<RawValue>);

impl TryFrom<LoggedEvent> for RecordedEvent {
    type Error = Failure;

    fn try_from(event: LoggedEvent) -> Result<Self, Failure> {
        serde_json::from_slice(&event.envelope).map(Self).map_err(Failure::internal)
    }
}

impl ToSchema for RecordedEvent {}

impl PartialSchema for RecordedEvent {
    fn schema() -> RefOr<Schema> {
        let text = |description, example| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(description))
                .examples([example])
        };
        let instant = "2027-04-01T08:30:00.123456Z";
        let id = "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37";
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let version = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .description(Some("The version of the subject after the event, without gaps."))
            .examples([1]);
        let data = ObjectBuilder::new()
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some("What happened in detail, as `dataschema` describes it."))
            .examples([serde_json::json!({
                "community_id": "comm_01k6sw8zayf9g8yasc3mf0yjhq",
                "user_id": "user_01k6sw8zayf9g8yasc3mf0yjhq",
            })]);
        let members = [
            ("specversion", text("The version of the CloudEvents specification.", "1.0")),
            ("id", text("The event's id; redeliveries keep it.", id)),
            ("source", text("Which module published it.", "/convene/community")),
            ("type", text("What happened.", "community.member_left")),
            ("subject", text("What it happened to.", "member_01k6sw8zayf9g8yasc3mf0yjhq")),
            ("time", text("When it happened.", instant)),
            ("datacontenttype", text("The media type of `data`.", "application/json")),
            (
                "dataschema",
                text(
                    "The JSON Schema of `data`.",
                    "https://convene.example/schemas/community.member_left.v1.json",
                ),
            ),
            ("communityid", text("Where it happened.", "comm_01k6sw8zayf9g8yasc3mf0yjhq")),
            ("aggregateversion", version),
            ("actor", text("Who caused it, or `system`.", "user_01k6sw8zayf9g8yasc3mf0yjhq")),
            ("correlationid", text("The id of the request that caused it.", id)),
            ("data", data),
        ];
        let optional = [
            ("causationid", text("The event that caused it, if one did.", id)),
            ("traceparent", text("The W3C trace context of the request.", traceparent)),
        ];
        let mut envelope = ObjectBuilder::new().description(Some(
            "A recorded event: a CloudEvent 1.0, member for member as it is published.",
        ));
        for (name, member) in members {
            envelope = envelope.property(name, member).required(name);
        }
        for (name, member) in optional {
            envelope = envelope.property(name, member);
        }
        envelope.into()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn logged(envelope: &'static str) -> LoggedEvent {
        LoggedEvent {
            position: 1,
            id: Uuid::nil(),
            event_type: "community.created".to_owned(),
            version: 1,
            community: None,
            envelope: Bytes::from_static(envelope.as_bytes()),
            replay: 0,
        }
    }

    #[test]
    fn an_event_keeps_its_bytes() {
        let envelope = r#"{"b": 1.0,"a":"\u00e9"}"#;
        let event = RecordedEvent::try_from(logged(envelope)).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), envelope);
        assert!(RecordedEvent::try_from(logged("{")).is_err());
    }
}
