DROP FUNCTION convene_forget_events(interval);

CREATE OR REPLACE FUNCTION convene_fence_job(job bigint, lease_epoch bigint, completes boolean) RETURNS void
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
DROP FUNCTION convene_keep_jobs(interval);
DROP TABLE jobs_archive;

DROP FUNCTION convene_ready_groups(text[], text[], timestamptz[]);
DROP FUNCTION convene_claim_limited(uuid, interval, text[], text[], integer[]);
DROP INDEX jobs_of_groups_leased, jobs_of_groups_due, jobs_due;
CREATE INDEX jobs_due ON jobs (queue, priority, run_at, id) WHERE leased_by IS NULL;
ALTER TABLE jobs_dead DROP COLUMN job_group, DROP COLUMN keep;
ALTER TABLE jobs
    DROP COLUMN job_group, DROP COLUMN started_at, DROP COLUMN cancelled_at, DROP COLUMN progress_done,
    DROP COLUMN progress_total, DROP COLUMN keep;
DROP TABLE job_groups, job_queues;

DROP TABLE cron_duties;
