-- The job engine: duties with a memory of their own, queues and groups with limits, runs that can be cancelled and watched,
-- jobs that are remembered for a while, and an event log that may forget.


-- ── Duties ──────────────────────────────────────────────────────────────────────────────────────────────────────────

-- One row for each duty of the scheduler. Whoever takes the row when its tick has come fires it, and moves it on in the
-- same transaction; there is no leader. `cron_ticks` stays the proof that no tick is fired twice.
CREATE TABLE cron_duties (
    name          text PRIMARY KEY,
    schedule      text NOT NULL,
    missed        text NOT NULL,
    next_tick     timestamptz NOT NULL,
    paused        boolean NOT NULL DEFAULT false,
    last_tick     timestamptz,
    last_fired_at timestamptz
) WITH (fillfactor = 50);


-- ── Queues and groups ───────────────────────────────────────────────────────────────────────────────────────────────

-- What operators set about a queue; most queues have no row. A worker that claims looks here, so what is set is felt with
-- the next claim. How many jobs run is counted, never kept: no crash can leave it wrong.
CREATE TABLE job_queues (
    queue         text PRIMARY KEY,
    paused        boolean NOT NULL DEFAULT false,
    -- At once, over all workers.
    at_once       integer CHECK (at_once > 0),
    -- Starts a second. Tokens gather up to `burst`.
    rate          double precision CHECK (rate > 0),
    burst         integer CHECK (burst > 0),
    tokens        double precision NOT NULL DEFAULT 0,
    refilled_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- At once of each group that sets nothing else.
    group_at_once integer CHECK (group_at_once > 0),
    CHECK ((rate IS NULL) = (burst IS NULL))
) WITH (fillfactor = 20);

-- Groups within queues, such as the tenants whose jobs these are. They take turns, the one that was looked at longest ago
-- first. `ready_at` is a hint: before that time there is nothing to claim. Whoever stores a job sets it back; whoever looks
-- and finds nothing sets it forward, and never further than a moment while a job of the group runs, which may come back.
CREATE TABLE job_groups (
    queue     text NOT NULL,
    job_group text NOT NULL,
    paused    boolean NOT NULL DEFAULT false,
    -- At once, over all workers.
    at_once   integer CHECK (at_once > 0),
    ready_at  timestamptz NOT NULL,
    looked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (queue, job_group)
) WITH (fillfactor = 50);
CREATE INDEX job_groups_ready ON job_groups (queue, ready_at) WHERE NOT paused;

ALTER TABLE jobs
    ADD COLUMN job_group text,
    ADD COLUMN started_at timestamptz,
    -- An operator wants the run to end.
    ADD COLUMN cancelled_at timestamptz,
    -- What the run tells of itself.
    ADD COLUMN progress_done bigint,
    ADD COLUMN progress_total bigint,
    -- Whether it is remembered once it has ended.
    ADD COLUMN keep boolean NOT NULL DEFAULT true;
ALTER TABLE jobs_dead ADD COLUMN job_group text, ADD COLUMN keep boolean NOT NULL DEFAULT true;

-- Jobs of groups are claimed through their groups: a group of a hundred thousand stands in nobody's way.
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (queue, priority, run_at, id) WHERE leased_by IS NULL AND job_group IS NULL;
CREATE INDEX jobs_of_groups_due ON jobs (queue, job_group, run_at, id)
    WHERE leased_by IS NULL AND job_group IS NOT NULL;
CREATE INDEX jobs_of_groups_leased ON jobs (queue, job_group) WHERE leased_by IS NOT NULL AND job_group IS NOT NULL;

-- Leases jobs of queues that have limits, and of groups. Each statement in here sees what was committed before it began,
-- so what is counted behind a lock is what the last holder of the lock did. Locks on groups are never waited for.
CREATE FUNCTION convene_claim_limited(worker uuid, lease interval, kinds text[], queues text[], free integer[])
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
    -- Groups that are looked at beyond those that there is room for, since some will have nothing to give.
    spare CONSTANT integer := 16;
    -- Jobs of a group among which priorities count: those that have been due longest.
    weighed CONSTANT integer := 50;
    -- How soon a group is looked at again that has a job running, or one due that cannot run.
    again CONSTANT interval := '100 milliseconds';
    wanted record;
    control job_queues;
    room integer;
    taken integer;
    picked bigint[];
    groups text[];
    served text[];
    limits integer[];
    instant timestamptz;
BEGIN
    FOR wanted IN SELECT * FROM unnest(queues, free) AS asked(queue, free) WHERE asked.free > 0 ORDER BY 1 LOOP
        room := wanted.free;
        SELECT * INTO control FROM job_queues WHERE queue = wanted.queue;
        IF control.at_once IS NOT NULL OR control.rate IS NOT NULL THEN
            SELECT * INTO control FROM job_queues WHERE queue = wanted.queue FOR NO KEY UPDATE;
        END IF;
        CONTINUE WHEN control.paused;
        IF control.at_once IS NOT NULL THEN
            room := least(room, control.at_once - (
                SELECT count(*) FROM jobs WHERE queue = wanted.queue AND leased_by IS NOT NULL));
        END IF;
        instant := clock_timestamp();
        IF control.rate IS NOT NULL THEN
            control.tokens := least(control.burst,
                control.tokens + control.rate * greatest(0, extract(epoch FROM instant - control.refilled_at)));
            room := least(room, floor(control.tokens)::integer);
        END IF;
        CONTINUE WHEN room <= 0;
        taken := 0;

        SELECT array_agg(job_group), array_agg(at_once) INTO groups, limits FROM (
            SELECT job_group, coalesce(at_once, control.group_at_once) AS at_once FROM job_groups
            WHERE queue = wanted.queue AND NOT paused AND ready_at <= instant
            ORDER BY looked_at, job_group LIMIT room + spare FOR NO KEY UPDATE SKIP LOCKED) AS looked;
        IF groups IS NOT NULL THEN
            -- The first of each group before the second of any.
            SELECT array_agg(id), array_agg(job_group) INTO picked, served FROM (
                SELECT head.id, looked.job_group FROM (
                    SELECT looked.job_group, looked.place, coalesce(looked.at_once - (
                        SELECT count(*) FROM jobs WHERE queue = wanted.queue AND job_group = looked.job_group
                                                    AND leased_by IS NOT NULL), room) AS left_over
                    FROM unnest(groups, limits) WITH ORDINALITY AS looked(job_group, at_once, place)
                ) AS looked CROSS JOIN LATERAL (
                    SELECT due.id, row_number() OVER (ORDER BY due.priority, due.run_at, due.id) AS turn FROM (
                        SELECT id, priority, run_at FROM jobs
                        WHERE queue = wanted.queue AND job_group = looked.job_group AND leased_by IS NULL
                          AND run_at <= instant AND kind = ANY (kinds)
                        ORDER BY run_at, id LIMIT CASE WHEN looked.left_over > 0 THEN weighed ELSE 0 END) AS due
                ) AS head
                WHERE head.turn <= looked.left_over ORDER BY head.turn, looked.place LIMIT room) AS best;
            RETURN QUERY UPDATE jobs SET attempt = attempt + 1, epoch = epoch + 1, leased_by = worker,
                leased_until = clock_timestamp() + lease, started_at = instant
                WHERE id = ANY (ARRAY(
                    SELECT id FROM jobs WHERE id = ANY (picked) AND leased_by IS NULL FOR UPDATE SKIP LOCKED))
                RETURNING jobs.*;
            GET DIAGNOSTICS taken = ROW_COUNT;
            UPDATE job_groups SET
                -- One that was left because there was no room for it keeps its turn.
                looked_at = CASE WHEN next.run_at <= instant AND taken >= room AND NOT next.job_group = ANY (served)
                                      AND coalesce(next.running < next.at_once, true)
                                 THEN looked_at ELSE instant END,
                ready_at = CASE
                    WHEN next.run_at IS NULL THEN CASE WHEN next.running > 0 THEN instant + again ELSE 'infinity' END
                    WHEN next.run_at > instant AND next.running = 0 THEN next.run_at
                    WHEN next.run_at > instant THEN least(next.run_at, instant + again)
                    -- Due, and left though there was room: full, or of kinds that this worker does not know.
                    WHEN taken < room OR next.running >= next.at_once THEN instant + again
                    ELSE job_groups.ready_at END
            FROM (
                SELECT looked.job_group, looked.at_once,
                       (SELECT count(*) FROM jobs WHERE queue = wanted.queue AND job_group = looked.job_group
                                                    AND leased_by IS NOT NULL) AS running,
                       (SELECT min(run_at) FROM jobs WHERE queue = wanted.queue AND job_group = looked.job_group
                                                       AND leased_by IS NULL) AS run_at
                FROM unnest(groups, limits) AS looked(job_group, at_once)
            ) AS next
            WHERE job_groups.queue = wanted.queue AND job_groups.job_group = next.job_group;
        END IF;

        IF (control.at_once IS NOT NULL OR control.rate IS NOT NULL) AND taken < room THEN
            RETURN QUERY UPDATE jobs SET attempt = attempt + 1, epoch = epoch + 1, leased_by = worker,
                leased_until = clock_timestamp() + lease, started_at = instant
                WHERE id = ANY (ARRAY(
                    WITH RECURSIVE level AS (
                        (SELECT priority FROM jobs WHERE queue = wanted.queue AND leased_by IS NULL AND job_group IS NULL
                         ORDER BY priority LIMIT 1)
                        UNION ALL
                        SELECT next.priority FROM level CROSS JOIN LATERAL (
                            SELECT priority FROM jobs
                            WHERE queue = wanted.queue AND leased_by IS NULL AND job_group IS NULL
                              AND priority > level.priority
                            ORDER BY priority LIMIT 1) AS next
                    )
                    SELECT job.id FROM level CROSS JOIN LATERAL (
                        SELECT id FROM jobs
                        WHERE queue = wanted.queue AND priority = level.priority AND leased_by IS NULL
                          AND job_group IS NULL AND run_at <= instant AND kind = ANY (kinds)
                        ORDER BY run_at, id LIMIT room - taken FOR UPDATE SKIP LOCKED) AS job
                    LIMIT room - taken))
                RETURNING jobs.*;
            DECLARE
                more integer;
            BEGIN
                GET DIAGNOSTICS more = ROW_COUNT;
                taken := taken + more;
            END;
        END IF;
        IF control.rate IS NOT NULL AND taken > 0 THEN
            UPDATE job_queues SET tokens = control.tokens - taken, refilled_at = instant WHERE queue = wanted.queue;
        END IF;
    END LOOP;
END $$;

-- Says that groups may have something to claim from a time on. Rows are locked in their order, as the last thing that a
-- transaction does, so that two can never wait for each other.
CREATE FUNCTION convene_ready_groups(queues text[], groups text[], times timestamptz[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO job_groups AS known (queue, job_group, ready_at)
    SELECT queue, job_group, min(coalesce(ready_at, clock_timestamp()))
    FROM unnest(queues, groups, times) AS ready(queue, job_group, ready_at)
    GROUP BY queue, job_group ORDER BY queue, job_group
    ON CONFLICT (queue, job_group) DO UPDATE SET ready_at = least(known.ready_at, excluded.ready_at)
$$;


-- ── Jobs that have ended ────────────────────────────────────────────────────────────────────────────────────────────

-- What jobs came to, without their payloads, which may be personal. By day, so that forgetting a day costs nothing.
CREATE TABLE jobs_archive (
    job_id         bigint NOT NULL,
    kind           text NOT NULL,
    queue          text NOT NULL,
    job_group      text,
    unique_key     text,
    outcome        text NOT NULL CHECK (outcome IN ('done', 'cancelled')),
    priority       smallint NOT NULL,
    attempt        smallint NOT NULL,
    max_attempts   smallint NOT NULL,
    correlation_id text,
    created_at     timestamptz NOT NULL,
    started_at     timestamptz,
    finished_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (finished_at);
CREATE INDEX jobs_archive_by_job ON jobs_archive (job_id);
-- For times of no foreseen day, so that none is ever refused. Normally empty.
CREATE TABLE jobs_archive_default PARTITION OF jobs_archive DEFAULT;

-- Makes the partitions of today and the next two days, and drops those that ended longer ago than `keep`; returns how many
-- it dropped. Rows that came before their partition move there from the default one.
CREATE FUNCTION convene_keep_jobs(keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    today CONSTANT timestamptz := date_trunc('day', now(), 'UTC');
    day timestamptz;
    name text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('convene_keep_jobs', 0));
    FOR ahead IN 0..2 LOOP
        day := today + ahead * interval '1 day';
        name := format('jobs_archive_%s', to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD'));
        CONTINUE WHEN to_regclass(format('public.%I', name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE jobs_archive INCLUDING ALL)', name);
        LOCK TABLE jobs_archive_default IN SHARE ROW EXCLUSIVE MODE;
        EXECUTE format('WITH early AS (DELETE FROM jobs_archive_default WHERE finished_at >= %L AND finished_at < %L RETURNING *)
                        INSERT INTO %I SELECT * FROM early', day, day + interval '1 day', name);
        EXECUTE format('ALTER TABLE jobs_archive ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name, day, day + interval '1 day');
    END LOOP;
    FOR name, day IN
        SELECT partition.relname, to_timestamp(substr(partition.relname, 14), 'YYYYMMDD')
        FROM pg_inherits JOIN pg_class AS partition ON partition.oid = inhrelid
        WHERE inhparent = 'jobs_archive'::regclass AND partition.relname ~ '^jobs_archive_\d{8}$'
    LOOP
        CONTINUE WHEN day + interval '1 day' > now() - keep;
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM jobs_archive_default WHERE finished_at < now() - keep;
    RETURN dropped;
END $$;
SELECT convene_keep_jobs('1 day');

-- A run that an operator has cancelled commits nothing more under its lease.
CREATE OR REPLACE FUNCTION convene_fence_job(job bigint, lease_epoch bigint, completes boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM jobs
    WHERE id = job AND epoch = lease_epoch AND leased_by IS NOT NULL AND cancelled_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'convene: lease lost';
    END IF;
    IF completes THEN
        WITH gone AS (
            DELETE FROM jobs WHERE id = job AND NOT rerun RETURNING *
        )
        INSERT INTO jobs_archive (job_id, kind, queue, job_group, unique_key, outcome, priority, attempt, max_attempts,
                                  correlation_id, created_at, started_at)
        SELECT id, kind, queue, job_group, unique_key, 'done', priority, attempt, max_attempts, correlation_id,
               created_at, started_at
        FROM gone WHERE keep;
        UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, attempt = 0, run_at = clock_timestamp(),
            progress_done = NULL, progress_total = NULL
        WHERE id = job;
    END IF;
END $$;


-- ── Events that are old ─────────────────────────────────────────────────────────────────────────────────────────────

-- Drops partitions of the event log whose events are all older than `keep` and delivered by every sink; returns how many.
-- Without a sink nothing is known to be delivered. The newest partition is never dropped: it is not full.
CREATE FUNCTION convene_forget_events(keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    delivered bigint;
    name text;
    behind bigint;
    newest timestamptz;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('convene_forget_events', 0));
    SELECT min(position) INTO delivered FROM sink_cursors;
    FOR name, behind IN
        SELECT partition.relname,
               (regexp_match(pg_get_expr(partition.relpartbound, partition.oid), 'TO \(''?(\d+)''?\)'))[1]::bigint
        FROM pg_inherits JOIN pg_class AS partition ON partition.oid = inhrelid
        WHERE inhparent = 'domain_events'::regclass ORDER BY 2
    LOOP
        EXIT WHEN delivered IS NULL OR behind - 1 > delivered;
        EXECUTE format('SELECT recorded_at FROM %I ORDER BY position DESC LIMIT 1', name) INTO newest;
        EXIT WHEN newest >= now() - keep;
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
