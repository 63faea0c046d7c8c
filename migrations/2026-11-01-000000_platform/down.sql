DROP AGGREGATE convene_audit_chain (bytea, bytea);
DROP FUNCTION convene_fence_job, convene_keep_inbox, convene_first_uuid, convene_sequence, convene_extend_log,
    convene_audit_link, convene_audit_bytes, convene_personal_digest;
DROP TABLE cron_ticks, jobs_dead, jobs, idempotency_keys, audit_chains, audit_personal, audit_log, audit_pending, inbox,
    sink_cursors, log_head, domain_events, outbox;
