-- The platform under every module: outbox and event log, audit log, inbox, jobs, idempotency keys.
--
-- Two roles work here. The owner migrates. The role that serves reads and writes through the grants that the migration
-- command gives; it may add to the outbox and to the pending audit entries, and change neither them nor the two logs:
-- only convene_sequence(), which runs with the owner's rights, moves rows there.


-- ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Events of committed transactions on their way to the log. Ids come in the order of inserting, one by one (an identity
-- column caches none), so those of one aggregate, which are written under its row lock, are in its order. Ids are not in
-- the order of committing: never read this table by `id > last seen`.
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid NOT NULL,
    event_type   text NOT NULL,
    version      smallint NOT NULL,
    community_id uuid,
    envelope     bytea NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The event log. Positions are dense from 1, and a position that can be read stays what it is: everybody may read on
-- from the last one they saw. Its partitions are made ahead by convene_extend_log().
CREATE TABLE domain_events (
    position     bigint NOT NULL PRIMARY KEY,
    event_id     uuid NOT NULL,
    event_type   text NOT NULL,
    version      smallint NOT NULL,
    community_id uuid,
    envelope     bytea NOT NULL,
    recorded_at  timestamptz NOT NULL
) PARTITION BY RANGE (position);
CREATE INDEX domain_events_by_community ON domain_events (community_id, position) WHERE community_id IS NOT NULL;

-- One row: the position of the newest event, and up to where there are partitions.
CREATE TABLE log_head (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    position          bigint NOT NULL,
    partitioned_until bigint NOT NULL,
    CHECK (position <= partitioned_until)
) WITH (fillfactor = 10);
INSERT INTO log_head (position, partitioned_until) VALUES (0, 0);

-- How far each sink has delivered the log. The epoch rises with each lead and fences out the one before.
CREATE TABLE sink_cursors (
    sink         text PRIMARY KEY,
    position     bigint NOT NULL,
    epoch        bigint NOT NULL,
    holder       uuid NOT NULL,
    leased_until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Which consumer has taken which event. Partitioned by the event's id, a UUIDv7 and therefore by its time: what is older
-- than the keeping time is dropped as whole partitions, which costs nothing, where deleting millions of rows from hash
-- partitions would cost a vacuum of all. Made ahead and dropped by convene_keep_inbox(). `replay` is 0 but for events
-- that an operator has a consumer take once more.
CREATE TABLE inbox (
    event_id    uuid NOT NULL,
    consumer    text NOT NULL,
    replay      integer NOT NULL DEFAULT 0,
    consumed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, consumer, replay)
) PARTITION BY RANGE (event_id);
-- For ids of no foreseen time, so that none is ever refused. Normally empty.
CREATE TABLE inbox_default PARTITION OF inbox DEFAULT;


-- ── Audit ───────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Audit entries of committed transactions, without their number: to number them in the transaction would let a
-- community's writes happen one after the other only.
CREATE TABLE audit_pending (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT now(),
    community_id uuid,
    actor        text NOT NULL,
    session_id   uuid,
    action       text NOT NULL,
    object       text NOT NULL,
    changed      jsonb NOT NULL,
    request_id   text NOT NULL,
    client_ip    text,
    user_agent   text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The audit log: one chain per community, and one, of the nil UUID, for what happens outside communities. Numbers are
-- dense from 1. The hash covers the entry and the hash before it, so nothing can be changed or left out unnoticed.
CREATE TABLE audit_log (
    chain_id        uuid NOT NULL,
    number          bigint NOT NULL,
    at              timestamptz NOT NULL,
    actor           text NOT NULL,
    session_id      uuid,
    action          text NOT NULL,
    object          text NOT NULL,
    changed         jsonb NOT NULL,
    request_id      text NOT NULL,
    personal_digest bytea NOT NULL,
    hash            bytea NOT NULL,
    PRIMARY KEY (chain_id, number)
);

-- What of an entry is personal, so that it can be erased: the chain holds its digest alone. The salt keeps the digest
-- from being guessed once the row is gone.
CREATE TABLE audit_personal (
    chain_id   uuid NOT NULL,
    number     bigint NOT NULL,
    salt       bytea NOT NULL,
    client_ip  text,
    user_agent text,
    PRIMARY KEY (chain_id, number)
);

-- The end of each chain.
CREATE TABLE audit_chains (
    chain_id uuid PRIMARY KEY,
    number   bigint NOT NULL,
    hash     bytea NOT NULL
) WITH (fillfactor = 80);

-- What of an entry is personal, salted.
CREATE FUNCTION convene_personal_digest(salt bytea, client_ip text, user_agent text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(salt || convert_to(jsonb_build_array(client_ip, user_agent)::text, 'UTF8'))
$$;

-- An entry as the bytes that its hash covers.
CREATE FUNCTION convene_audit_bytes(
    chain_id uuid, number bigint, at timestamptz, actor text, session_id uuid, action text, object text, changed jsonb,
    request_id text, personal_digest bytea
) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT convert_to(jsonb_build_array(chain_id, number, (extract(epoch FROM at) * 1000000)::bigint, actor, session_id,
        action, object, changed, request_id, encode(personal_digest, 'hex'))::text, 'UTF8')
$$;

-- One link of a chain: the hash of an entry behind the one with hash `last`; the first of a run takes `before`.
CREATE FUNCTION convene_audit_link(last bytea, before bytea, entry bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(coalesce(last, before) || entry)
$$;

-- The hashes of a run of entries, as a window in the order of their numbers. `before` is the hash in front of the run,
-- empty at the beginning of a chain.
CREATE AGGREGATE convene_audit_chain(before bytea, entry bytea) (SFUNC = convene_audit_link, STYPE = bytea);


-- ── The sequencer ───────────────────────────────────────────────────────────────────────────────────────────────────

-- Makes the next partition of the event log once less than half of the last one is left. The table is made by itself and
-- attached then, which takes no lock that stops readers or writers of the log.
CREATE FUNCTION convene_extend_log() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    rows_each CONSTANT bigint := 1000000;
    head log_head;
    name text;
BEGIN
    SELECT * INTO head FROM log_head FOR UPDATE;
    WHILE head.partitioned_until - head.position < rows_each / 2 LOOP
        name := format('domain_events_p%s', head.partitioned_until / rows_each);
        EXECUTE format('CREATE TABLE %I (LIKE domain_events INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE domain_events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            name, head.partitioned_until + 1, head.partitioned_until + rows_each + 1);
        UPDATE log_head SET partitioned_until = partitioned_until + rows_each RETURNING * INTO head;
    END LOOP;
END $$;
SELECT convene_extend_log();

-- Moves up to max_rows committed events, in the order of their ids, to the next positions of the log, and as many audit
-- entries to the ends of their chains. One caller at a time does the work; for the others `busy` is true. The lock ends
-- with the transaction, so a caller that dies is replaced at once.
--
-- Each statement in here sees what was committed before it began, so it sees what the last holder of the lock did.
CREATE FUNCTION convene_sequence(max_rows integer, OUT busy boolean, OUT events integer, OUT audit integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    base bigint;
BEGIN
    events := 0;
    audit := 0;
    busy := NOT pg_try_advisory_xact_lock(hashtextextended('convene_sequence', 0));
    IF busy THEN
        RETURN;
    END IF;

    SELECT position INTO base FROM log_head;
    WITH moved AS (
        DELETE FROM outbox WHERE id = ANY (ARRAY(SELECT id FROM outbox ORDER BY id LIMIT max_rows)) RETURNING *
    )
    INSERT INTO domain_events (position, event_id, event_type, version, community_id, envelope, recorded_at)
    SELECT base + row_number() OVER (ORDER BY id), event_id, event_type, version, community_id, envelope, recorded_at
    FROM moved;
    GET DIAGNOSTICS events = ROW_COUNT;
    IF events > 0 THEN
        UPDATE log_head SET position = base + events;
        PERFORM convene_extend_log();
    END IF;

    WITH moved AS (
        DELETE FROM audit_pending
        WHERE id = ANY (ARRAY(SELECT id FROM audit_pending ORDER BY id LIMIT max_rows)) RETURNING *
    ), salted AS (
        -- A random UUID is random enough for a salt, and built in.
        SELECT *, coalesce(community_id, '00000000-0000-0000-0000-000000000000') AS chain_id,
               uuid_send(gen_random_uuid()) AS salt
        FROM moved
    ), numbered AS (
        SELECT salted.*, coalesce(chain.hash, '') AS before,
               coalesce(chain.number, 0) + row_number() OVER (PARTITION BY chain_id ORDER BY id) AS number,
               convene_personal_digest(salt, client_ip, user_agent) AS personal_digest
        FROM salted LEFT JOIN audit_chains AS chain USING (chain_id)
    ), linked AS (
        SELECT *, convene_audit_chain(before, convene_audit_bytes(chain_id, number, at, actor, session_id, action,
                      object, changed, request_id, personal_digest)) OVER (PARTITION BY chain_id ORDER BY number) AS hash
        FROM numbered
    ), logged AS (
        INSERT INTO audit_log (chain_id, number, at, actor, session_id, action, object, changed, request_id,
                               personal_digest, hash)
        SELECT chain_id, number, at, actor, session_id, action, object, changed, request_id, personal_digest, hash
        FROM linked RETURNING 1
    ), personal AS (
        INSERT INTO audit_personal (chain_id, number, salt, client_ip, user_agent)
        SELECT chain_id, number, salt, client_ip, user_agent FROM linked
    ), ended AS (
        INSERT INTO audit_chains (chain_id, number, hash)
        SELECT DISTINCT ON (chain_id) chain_id, number, hash FROM linked ORDER BY chain_id, number DESC
        ON CONFLICT (chain_id) DO UPDATE SET number = excluded.number, hash = excluded.hash
    )
    SELECT count(*) INTO audit FROM logged;
END $$;


-- ── Keeping the inbox ───────────────────────────────────────────────────────────────────────────────────────────────

-- The smallest UUIDv7 of an instant (RFC 9562 §5.7: the first 48 bits are milliseconds since 1970).
CREATE FUNCTION convene_first_uuid(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM instant) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Makes the inbox partitions of this week and the next four, and drops those whose events are all older than `keep`;
-- returns how many it dropped. Rows that came before their partition move there from the default one.
CREATE FUNCTION convene_keep_inbox(keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    this_week CONSTANT timestamptz := date_trunc('week', now(), 'UTC');
    week timestamptz;
    name text;
    first uuid;
    behind uuid;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('convene_keep_inbox', 0));
    FOR ahead IN 0..4 LOOP
        week := this_week + ahead * interval '7 days';
        name := format('inbox_%s', to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'));
        CONTINUE WHEN to_regclass(format('public.%I', name)) IS NOT NULL;
        first := convene_first_uuid(week);
        behind := convene_first_uuid(week + interval '7 days');
        EXECUTE format('CREATE TABLE %I (LIKE inbox INCLUDING ALL)', name);
        LOCK TABLE inbox_default IN SHARE ROW EXCLUSIVE MODE;
        EXECUTE format('WITH early AS (DELETE FROM inbox_default WHERE event_id >= %L AND event_id < %L RETURNING *)
                        INSERT INTO %I SELECT * FROM early', first, behind, name);
        EXECUTE format('ALTER TABLE inbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, behind);
    END LOOP;
    FOR name, week IN
        SELECT partition.relname, to_timestamp(substr(partition.relname, 7), 'YYYYMMDD')
        FROM pg_inherits JOIN pg_class AS partition ON partition.oid = inhrelid
        WHERE inhparent = 'inbox'::regclass AND partition.relname ~ '^inbox_\d{8}$'
    LOOP
        CONTINUE WHEN week + interval '7 days' > now() - keep;
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM inbox_default WHERE consumed_at < now() - keep;
    RETURN dropped;
END $$;
SELECT convene_keep_inbox('14 days');


-- ── Idempotency keys ────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE idempotency_keys (
    scope       bytea PRIMARY KEY CHECK (length(scope) = 32),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    status      smallint NOT NULL,
    location    text,
    etag        text,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);


-- ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Live jobs only: a finished one leaves. Not partitioned by time, which would not allow the unique key.
CREATE TABLE jobs (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL,
    queue          text NOT NULL,
    payload        jsonb NOT NULL,
    unique_key     text,
    priority       smallint NOT NULL,
    run_at         timestamptz NOT NULL,
    -- Attempts begun, the running one included.
    attempt        smallint NOT NULL DEFAULT 0,
    max_attempts   smallint NOT NULL,
    -- Rises with each lease; a completion names the epoch that it holds.
    epoch          bigint NOT NULL DEFAULT 0,
    leased_by      uuid,
    leased_until   timestamptz,
    -- Asked for again while it was running.
    rerun          boolean NOT NULL DEFAULT false,
    last_error     text,
    traceparent    text,
    correlation_id text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((leased_by IS NULL) = (leased_until IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE UNIQUE INDEX jobs_unique_key ON jobs (kind, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX jobs_due ON jobs (queue, priority, run_at, id) WHERE leased_by IS NULL;
CREATE INDEX jobs_leased ON jobs (leased_until) WHERE leased_by IS NOT NULL;

-- Jobs that failed for good, until an operator redrives them or their time is over.
CREATE TABLE jobs_dead (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id         bigint NOT NULL,
    kind           text NOT NULL,
    queue          text NOT NULL,
    payload        jsonb NOT NULL,
    unique_key     text,
    priority       smallint NOT NULL,
    attempt        smallint NOT NULL,
    max_attempts   smallint NOT NULL,
    last_error     text NOT NULL,
    traceparent    text,
    correlation_id text,
    created_at     timestamptz NOT NULL,
    died_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX jobs_dead_by_age ON jobs_dead (died_at);

-- The ticks of the scheduler's duties that have come: one row, so one job each, whoever is first.
CREATE TABLE cron_ticks (
    name     text NOT NULL,
    tick     timestamptz NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, tick)
);

-- Raises unless the lease is current, which ends the transaction that asks. The row stays locked until it ends, so nobody
-- can take the lease over in between.
CREATE FUNCTION convene_fence_job(job bigint, lease_epoch bigint, completes boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM jobs WHERE id = job AND epoch = lease_epoch AND leased_by IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'convene: lease lost';
    END IF;
    IF completes THEN
        DELETE FROM jobs WHERE id = job AND NOT rerun;
        UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, attempt = 0, run_at = clock_timestamp()
        WHERE id = job;
    END IF;
END $$;
