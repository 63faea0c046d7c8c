//! Rows of this module, and what they hold.

use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::page::PageKey;
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{AttemptView, ClaimedDelivery, DeliveryView, Target};
use convene_domain::ids::TypedId;
use convene_domain::text::Description;
use convene_domain::webhook::{
    DeliveryStatus, Endpoint, EndpointStatus, EndpointUrl, EventTypes, Health, RateLimit, Signature,
};
use diesel::QueryableByName;
use diesel::sql_types::{
    Array, Binary, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::postgres::sql::stored;

/// The columns of [`EndpointRow`].
pub(super) const ENDPOINT_COLUMNS: &str = "id, community_id, created_by, url, event_types, description, status, public_key, \
     header_names, rate_limit, failing_since, failures, paused_until, pauses, noticed_at, version, created_at, updated_at";

#[derive(QueryableByName)]
pub(super) struct EndpointRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    created_by: Uuid,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Array<Text>)]
    event_types: Vec<String>,
    #[diesel(sql_type = Nullable<Text>)]
    description: Option<String>,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<Text>)]
    public_key: Option<String>,
    #[diesel(sql_type = Array<Text>)]
    header_names: Vec<String>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    rate_limit: Option<i16>,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    failing_since: Option<Timestamp>,
    #[diesel(sql_type = Integer)]
    failures: i32,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    paused_until: Option<Timestamp>,
    #[diesel(sql_type = Integer)]
    pauses: i32,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    noticed_at: Option<Timestamp>,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    updated_at: Timestamp,
}

impl TryFrom<EndpointRow> for Endpoint {
    type Error = StoreError;

    fn try_from(row: EndpointRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: TypedId::from_uuid(row.id),
            community: TypedId::from_uuid(row.community_id),
            created_by: TypedId::from_uuid(row.created_by),
            url: stored("webhook_endpoints.url", EndpointUrl::new(row.url))?,
            event_types: stored("webhook_endpoints.event_types", EventTypes::new(row.event_types))?,
            description: stored(
                "webhook_endpoints.description",
                row.description.map(Description::new).transpose(),
            )?,
            signature: row
                .public_key
                .map_or(Signature::Hmac, |public_key| Signature::Ed25519 { public_key }),
            header_names: row.header_names,
            rate_limit: row.rate_limit.and_then(rate_limit),
            status: endpoint_status(&row.status)?,
            health: Health {
                failing_since: row.failing_since,
                failures: row.failures.unsigned_abs(),
                paused_until: row.paused_until,
                pauses: row.pauses.unsigned_abs(),
                noticed_at: row.noticed_at,
            },
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl EndpointRow {
    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.created_at.as_microsecond(), id: self.id }
    }
}

/// The columns of [`DeliveryRow`] of a row `d` of `webhook_deliveries`.
pub(super) const DELIVERY_COLUMNS: &str =
    "d.id, d.event_id, d.event_type, d.status, d.started_at, d.created_at";

#[derive(QueryableByName)]
pub(super) struct DeliveryRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    started_at: Option<Timestamp>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
}

impl DeliveryRow {
    /// The delivery with its attempts that have ended; the one that has not is in its own row.
    pub(super) fn into_view(
        self,
        ended: impl IntoIterator<Item = AttemptRow>,
    ) -> Result<DeliveryView, StoreError> {
        let running = self.started_at.map(|at| AttemptView {
            at,
            status_code: None,
            duration: None,
            error: None,
            response_head: Bytes::new(),
        });
        Ok(DeliveryView {
            id: TypedId::from_uuid(self.id),
            event_id: self.event_id,
            event_type: self.event_type,
            status: stored(
                "webhook_deliveries.status",
                DeliveryStatus::parse(&self.status).ok_or(()),
            )?,
            attempts: ended.into_iter().filter_map(AttemptRow::into_view).chain(running).collect(),
            in_flight: self.started_at.is_some(),
            created_at: self.created_at,
        })
    }
}

/// The columns of [`AttemptRow`] of a row `a` of `webhook_attempts`.
pub(super) const ATTEMPT_COLUMNS: &str =
    "a.started_at AS attempted_at, a.status_code, a.duration_ms, a.error, a.response_head";

/// An attempt, or the nulls that an outer join puts in the place of none.
#[derive(QueryableByName)]
pub(super) struct AttemptRow {
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    attempted_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    status_code: Option<i16>,
    #[diesel(sql_type = Nullable<Integer>)]
    duration_ms: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    error: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    response_head: Option<Vec<u8>>,
}

impl AttemptRow {
    fn into_view(self) -> Option<AttemptView> {
        Some(AttemptView {
            at: self.attempted_at?,
            status_code: self.status_code.map(i16::unsigned_abs),
            duration: self.duration_ms.map(|ms| Duration::from_millis(ms.unsigned_abs().into())),
            error: self.error,
            response_head: self.response_head.unwrap_or_default().into(),
        })
    }
}

/// A delivery beside one of its attempts.
#[derive(QueryableByName)]
pub(super) struct ListedRow {
    #[diesel(embed)]
    delivery: DeliveryRow,
    #[diesel(embed)]
    attempt: AttemptRow,
}

/// A delivery with all its attempts.
pub(super) struct Listed {
    delivery: DeliveryRow,
    attempts: Vec<AttemptRow>,
}

impl Listed {
    /// Brings rows together that are of one delivery and stand together.
    pub(super) fn fold(rows: Vec<ListedRow>) -> Vec<Self> {
        let mut folded: Vec<Self> = Vec::new();
        for ListedRow { delivery, attempt } in rows {
            match folded.last_mut() {
                Some(last) if last.delivery.id == delivery.id => last.attempts.push(attempt),
                _ => folded.push(Self { delivery, attempts: vec![attempt] }),
            }
        }
        folded
    }

    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.delivery.created_at.as_microsecond(), id: self.delivery.id }
    }

    pub(super) fn into_view(self) -> Result<DeliveryView, StoreError> {
        self.delivery.into_view(self.attempts)
    }
}

#[derive(QueryableByName)]
pub(super) struct HeadersRow {
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) headers: Option<Vec<u8>>,
}

#[derive(QueryableByName)]
pub(super) struct TargetRow {
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Binary)]
    secret: Vec<u8>,
    #[diesel(sql_type = Array<Binary>)]
    previous: Vec<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    headers: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    rate_limit: Option<i16>,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    paused_until: Option<Timestamp>,
}

impl TryFrom<TargetRow> for Target {
    type Error = StoreError;

    fn try_from(row: TargetRow) -> Result<Self, StoreError> {
        Ok(Self {
            url: stored("webhook_endpoints.url", EndpointUrl::new(row.url))?,
            sealed_secrets: std::iter::once(row.secret).chain(row.previous).collect(),
            sealed_headers: row.headers,
            rate_limit: row.rate_limit.and_then(rate_limit),
            enabled: endpoint_status(&row.status)? == EndpointStatus::Enabled,
            paused_until: row.paused_until,
        })
    }
}

#[derive(QueryableByName)]
pub(super) struct ClaimedRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = Integer)]
    number: i32,
    #[diesel(sql_type = Integer)]
    scheduled: i32,
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
}

impl From<ClaimedRow> for ClaimedDelivery {
    fn from(row: ClaimedRow) -> Self {
        Self {
            id: TypedId::from_uuid(row.id),
            event_id: row.event_id,
            event_type: row.event_type,
            number: row.number,
            scheduled: row.scheduled.unsigned_abs(),
            body: row.body.into(),
            traceparent: row.traceparent,
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct DueRow {
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    pub(super) due: Option<Timestamp>,
}

fn rate_limit(stored: i16) -> Option<RateLimit> {
    u16::try_from(stored).ok().and_then(RateLimit::per_second)
}

fn endpoint_status(name: &str) -> Result<EndpointStatus, StoreError> {
    stored("webhook_endpoints.status", EndpointStatus::parse(name).ok_or(()))
}
