-- Many deliveries sent again at once: how far a job has got with them.
CREATE TABLE webhook_replays (
    id           uuid PRIMARY KEY,
    community_id uuid NOT NULL,
    endpoint_id  uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    scope        text NOT NULL CHECK (scope IN ('failed', 'all', 'missing')),
    since        timestamptz NOT NULL,
    status       text NOT NULL CHECK (status IN ('running', 'completed', 'cancelled')),
    redelivered  bigint NOT NULL DEFAULT 0,
    -- The last delivery, or event of the log, that was looked at: when it was made in microseconds since 1970, or its
    -- position, and its id.
    cursor_sort  bigint,
    cursor_id    uuid,
    created_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    CHECK ((status = 'running') = (ended_at IS NULL)),
    CHECK ((cursor_sort IS NULL) = (cursor_id IS NULL))
);
CREATE INDEX webhook_replays_by_endpoint ON webhook_replays (endpoint_id);
CREATE INDEX webhook_replays_by_age ON webhook_replays (created_at);

-- So that failed deliveries are found however many have succeeded.
CREATE INDEX webhook_deliveries_failed ON webhook_deliveries (endpoint_id, created_at, id) WHERE status = 'failed';
