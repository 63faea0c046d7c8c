-- Webhooks: endpoints of communities, and what is sent to them. No key leads to another module's tables: webhooks become
-- a service of their own.

CREATE TABLE webhook_endpoints (
    id            uuid PRIMARY KEY,
    community_id  uuid NOT NULL,
    created_by    uuid NOT NULL,
    url           text NOT NULL,
    event_types   text[] NOT NULL CHECK (cardinality(event_types) > 0),
    description   text,
    status        text NOT NULL CHECK (status IN ('enabled', 'disabled')),
    -- Sealed.
    secret        bytea NOT NULL,
    failing_since timestamptz,
    failures      integer NOT NULL DEFAULT 0,
    paused_until  timestamptz,
    pauses        integer NOT NULL DEFAULT 0,
    noticed_at    timestamptz,
    version       integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX webhook_endpoints_by_community ON webhook_endpoints (community_id, created_at, id);

-- No foreign key to the endpoint: a deleted one may leave millions of rows behind, which a job removes in small steps,
-- and the check would lock the endpoint's row for every single delivery.
CREATE TABLE webhook_deliveries (
    id              uuid PRIMARY KEY,
    endpoint_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    event_type      text NOT NULL,
    body            bytea NOT NULL,
    status          text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
    -- The last attempt; each has its own number.
    number          integer NOT NULL DEFAULT 0,
    -- Attempts of the present schedule, which begins anew when somebody asks for the delivery again.
    scheduled       integer NOT NULL DEFAULT 0,
    -- Set while the last attempt has not been settled: it is then recorded here alone.
    started_at      timestamptz,
    -- While an attempt runs: when it counts as interrupted.
    next_attempt_at timestamptz,
    created_at      timestamptz NOT NULL,
    CONSTRAINT webhook_deliveries_once UNIQUE (endpoint_id, event_id),
    CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
    CHECK (started_at IS NULL OR status = 'pending')
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint_id, created_at, id);

-- Attempts that were settled, or interrupted. Removed with their delivery.
CREATE TABLE webhook_attempts (
    delivery_id   uuid NOT NULL,
    number        integer NOT NULL,
    started_at    timestamptz NOT NULL,
    status_code   smallint,
    duration_ms   integer,
    error         text,
    response_head bytea,
    PRIMARY KEY (delivery_id, number)
);
