//! What the databases hold.

use convene_domain::ids::{
    CommunityId, DeliveryId, EventId, MembershipId, RsvpId, TypedId, UserId, WebhookId,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

/// The databases at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The event log by position.
    pub log: Vec<Logged>,
    /// Each thing that has a version, and that version.
    pub aggregates: Vec<Aggregate>,
    /// RSVPs.
    pub rsvps: Vec<RsvpRow>,
    /// The seats of each event.
    pub seats: Vec<Seats>,
    /// Which consumer has taken which event.
    pub inbox: Vec<(String, String)>,
    /// Webhook endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Deliveries.
    pub deliveries: Vec<Delivery>,
    /// The audit log.
    pub audit: Vec<Audited>,
    /// What became of the leases of jobs, in order.
    pub leases: Vec<LeaseStep>,
    /// What waits though it is due.
    pub overdue: Vec<String>,
}

/// An event of the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its place.
    pub position: i64,
    /// The event.
    pub id: String,
    /// The type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `aggregateversion`
    pub version: i64,
    /// The request behind it.
    pub request: String,
    /// Who caused it.
    pub actor: String,
    /// The tenant.
    pub community: Option<String>,
    /// `time`, in microseconds after 1970.
    pub time: i64,
    /// The facts.
    pub data: Value,
}

/// Something that has a version.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// As events name it.
    pub subject: String,
    /// How often it was changed.
    pub version: i64,
}

/// A row of `rsvps`.
#[derive(Clone, Debug)]
pub struct RsvpRow {
    /// The RSVP.
    pub id: String,
    /// To which event.
    pub event: String,
    /// Whose.
    pub user: String,
    /// `confirmed`, `waitlisted` or `cancelled`.
    pub status: String,
    /// How many people.
    pub party: i64,
}

/// A row of `event_seats`.
#[derive(Clone, Debug)]
pub struct Seats {
    /// The event.
    pub event: String,
    /// How many there are; `None` without a limit.
    pub capacity: Option<i64>,
    /// How many are taken.
    pub taken: i64,
    /// How many parties wait.
    pub waiting: i64,
}

/// A webhook endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The endpoint.
    pub id: String,
    /// Whose.
    pub community: String,
    /// What it wants.
    pub patterns: Vec<String>,
    /// Since when, in microseconds after 1970.
    pub created: i64,
}

/// A row of `webhook_deliveries`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The delivery.
    pub id: String,
    /// To which endpoint.
    pub endpoint: String,
    /// Of which event.
    pub event: String,
    /// `pending`, `succeeded` or `failed`.
    pub status: String,
    /// How many attempts were begun.
    pub attempts: i64,
}

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct Audited {
    /// Which chain.
    pub chain: String,
    /// Its place in the chain.
    pub number: i64,
    /// The request behind it.
    pub request: String,
    /// What was done.
    pub action: String,
    /// `done` or `refused`.
    pub outcome: String,
}

/// What happened to the lease of a job.
#[derive(Clone, Debug)]
pub struct LeaseStep {
    /// The job.
    pub job: i64,
    /// `claimed`, `released`, or `deleted`.
    pub step: String,
    /// The epoch of the lease.
    pub epoch: i64,
    /// Whether it had run out.
    pub expired: bool,
    /// The process that did it, by its login.
    pub by: String,
}

/// Follows the leases from now on. What a completion looks like to those who are not meant to complete is seen nowhere but
/// in the database itself, so it is told who ends which lease.
pub const FOLLOW_LEASES: &str = "
    CREATE TABLE trial_leases (
        n bigint GENERATED ALWAYS AS IDENTITY, job bigint, step text, epoch bigint, expired boolean, by text);
    CREATE FUNCTION trial_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF OLD.leased_by IS NOT NULL AND (TG_OP = 'DELETE' OR NEW.leased_by IS NULL OR NEW.epoch <> OLD.epoch) THEN
            INSERT INTO trial_leases (job, step, epoch, expired, by) VALUES (OLD.id,
                CASE TG_OP WHEN 'DELETE' THEN 'deleted' ELSE 'released' END, OLD.epoch,
                OLD.leased_until < clock_timestamp(), session_user);
        END IF;
        IF TG_OP = 'UPDATE' AND NEW.leased_by IS NOT NULL AND NEW.epoch <> OLD.epoch THEN
            INSERT INTO trial_leases (job, step, epoch, expired, by)
            VALUES (NEW.id, 'claimed', NEW.epoch, false, session_user);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER trial_follow AFTER UPDATE OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION trial_follow()";

/// What waits though it has been due for a while.
const OVERDUE: &str = "
    SELECT 'outbox row ' || id FROM outbox WHERE recorded_at < now() - interval '5 s'
    UNION ALL
    SELECT 'audit entry ' || id || ' without a number' FROM audit_pending WHERE at < now() - interval '5 s'
    UNION ALL
    SELECT format('sink %s at position %s of %s', sink, sink_cursors.position, log_head.position)
    FROM sink_cursors, log_head WHERE sink_cursors.position < log_head.position
    UNION ALL
    SELECT format('job %s (%s), due since %s, attempt %s: %s', id, kind, run_at, attempt, last_error) FROM jobs
    WHERE leased_by IS NULL AND run_at < now() - interval '5 s'
    UNION ALL
    SELECT format('job %s (%s), leased until %s', id, kind, leased_until) FROM jobs
    WHERE leased_until < now() - interval '10 s'
    UNION ALL
    SELECT format('delivery %s to %s, due since %s', delivery.id, endpoint.id, next_attempt_at)
    FROM webhook_deliveries AS delivery JOIN webhook_endpoints AS endpoint ON endpoint.id = endpoint_id
    WHERE delivery.status = 'pending' AND endpoint.status = 'enabled'
      AND greatest(next_attempt_at, endpoint.paused_until) < now() - interval '5 s'
    UNION ALL
    SELECT format('dead job %s (%s): %s', job_id, kind, last_error) FROM jobs_dead";

/// What is in the log and was not taken by the consumer of webhooks: it may still be in the broker's queue. An event is wanted
/// by its own time, which the clock of another process tells than that of the endpoint may.
const UNTAKEN: &str = "
    SELECT format('event %s, which is not consumed', event_id) FROM domain_events AS event
    WHERE EXISTS (SELECT FROM webhook_endpoints AS endpoint
                  WHERE endpoint.community_id = event.community_id AND '*' = ANY (event_types)
                    AND endpoint.created_at < (convert_from(envelope, 'UTF8')::json ->> 'time')::timestamptz)
      AND NOT EXISTS (SELECT FROM inbox WHERE inbox.event_id = event.event_id)";

impl Snapshot {
    /// Reads all of it, as one moment.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take(sql: &mut Client) -> Result<Self, Error> {
        let reading =
            sql.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
        let sql = reading.start().await?;
        let rows = async |statement: &str| sql.query(statement, &[]).await;
        Ok(Self {
            log: rows("SELECT position, convert_from(envelope, 'UTF8') FROM domain_events ORDER BY position")
                .await?
                .iter()
                .map(logged)
                .collect(),
            aggregates: rows(
                "SELECT 'user', id::text, version::bigint FROM users
                 UNION ALL SELECT 'comm', id::text, version FROM communities
                 UNION ALL SELECT 'member', id::text, version FROM members
                 UNION ALL SELECT 'event', id::text, version FROM events
                 UNION ALL SELECT 'rsvp', id::text, version FROM rsvps
                 UNION ALL SELECT 'hook', id::text, version FROM webhook_endpoints",
            )
            .await?
            .iter()
            .map(aggregate)
            .collect(),
            rsvps: rows(
                "SELECT id::text, event_id::text, user_id::text, status, party_size::bigint FROM rsvps",
            )
            .await?
            .iter()
            .map(|row| RsvpRow {
                id: id::<RsvpId>(row, 0),
                event: id::<EventId>(row, 1),
                user: id::<UserId>(row, 2),
                status: row.get(3),
                party: row.get(4),
            })
            .collect(),
            seats: rows(
                "SELECT event_id::text, capacity::bigint, taken::bigint, waiting::bigint FROM event_seats",
            )
            .await?
            .iter()
            .map(|row| Seats {
                event: id::<EventId>(row, 0),
                capacity: row.get(1),
                taken: row.get(2),
                waiting: row.get(3),
            })
            .collect(),
            inbox: rows("SELECT consumer, event_id::text FROM inbox")
                .await?
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect(),
            endpoints: rows(
                "SELECT id::text, community_id::text, event_types,
                        (extract(epoch FROM created_at) * 1000000)::bigint FROM webhook_endpoints",
            )
            .await?
            .iter()
            .map(|row| Endpoint {
                id: id::<WebhookId>(row, 0),
                community: id::<CommunityId>(row, 1),
                patterns: row.get(2),
                created: row.get(3),
            })
            .collect(),
            deliveries: rows(
                "SELECT id::text, endpoint_id::text, event_id::text, status, number::bigint FROM webhook_deliveries",
            )
            .await?
            .iter()
            .map(|row| Delivery {
                id: id::<DeliveryId>(row, 0),
                endpoint: id::<WebhookId>(row, 1),
                event: row.get(2),
                status: row.get(3),
                attempts: row.get(4),
            })
            .collect(),
            audit: rows(
                "SELECT chain_id::text, number, request_id, action, outcome FROM audit_log ORDER BY chain_id, number",
            )
            .await?
            .iter()
            .map(|row| Audited {
                chain: row.get(0),
                number: row.get(1),
                request: row.get(2),
                action: row.get(3),
                outcome: row.get(4),
            })
            .collect(),
            leases: rows("SELECT job, step, epoch, expired, by FROM trial_leases ORDER BY n")
                .await?
                .iter()
                .map(|row| LeaseStep {
                    job: row.get(0),
                    step: row.get(1),
                    epoch: row.get(2),
                    expired: row.get(3),
                    by: row.get(4),
                })
                .collect(),
            overdue: rows(OVERDUE).await?.iter().map(|row| row.get(0)).collect(),
        })
    }
}

/// Something that waits and is due, or will be in a moment; `None` where all is quiet.
///
/// # Errors
/// When the database does not answer.
pub async fn waiting(sql: &Client) -> Result<Option<String>, Error> {
    let waiting = format!(
        "SELECT 'outbox row ' || id FROM outbox UNION ALL SELECT 'audit entry ' || id FROM audit_pending
         UNION ALL
         SELECT format('job %s (%s), run at %s, leased until %s, attempt %s: %s',
                       id, kind, run_at, leased_until, attempt, last_error)
         FROM jobs WHERE leased_by IS NOT NULL OR run_at < now() + interval '1 s'
         UNION ALL {UNTAKEN}
         UNION ALL {OVERDUE} LIMIT 1"
    );
    Ok(sql.query_opt(&waiting, &[]).await?.map(|row| row.get(0)))
}

fn logged(row: &Row) -> Logged {
    let envelope: Value = serde_json::from_str(row.get(1)).expect("an envelope is JSON");
    let text = |name: &str| envelope[name].as_str().map(str::to_owned);
    let time = text("time").and_then(|time| time.parse::<Timestamp>().ok());
    Logged {
        position: row.get(0),
        id: text("id").unwrap_or_default(),
        kind: text("type").unwrap_or_default(),
        subject: text("subject").unwrap_or_default(),
        version: envelope["aggregateversion"].as_i64().unwrap_or_default(),
        request: text("correlationid").unwrap_or_default(),
        actor: text("actor").unwrap_or_default(),
        community: text("communityid"),
        time: time.map_or(0, Timestamp::as_microsecond),
        data: envelope["data"].clone(),
    }
}

fn aggregate(row: &Row) -> Aggregate {
    let subject = match row.get(0) {
        "user" => id::<UserId>(row, 1),
        "comm" => id::<CommunityId>(row, 1),
        "member" => id::<MembershipId>(row, 1),
        "event" => id::<EventId>(row, 1),
        "rsvp" => id::<RsvpId>(row, 1),
        _ => id::<WebhookId>(row, 1),
    };
    Aggregate { subject, version: row.get(2) }
}

/// A column as clients see it.
fn id<I: TypedId>(row: &Row, column: usize) -> String {
    let uuid: Uuid = row.get::<_, &str>(column).parse().expect("PostgreSQL writes UUIDs well");
    I::from_uuid(uuid).to_string()
}
