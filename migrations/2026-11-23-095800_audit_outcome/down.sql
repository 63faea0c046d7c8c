-- Takes back exactly what up.sql made. The log forgets that something was refused, so such an entry no longer follows
-- from the one before it.
CREATE OR REPLACE FUNCTION convene_sequence(max_rows integer, OUT busy boolean, OUT events integer, OUT audit integer)
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

DROP FUNCTION convene_audit_bytes(uuid, bigint, timestamptz, text, uuid, text, text, jsonb, text, bytea, text);
UPDATE audit_pending SET actor = 'system' WHERE actor IS NULL;
UPDATE audit_log SET actor = 'system' WHERE actor IS NULL;
ALTER TABLE audit_log DROP COLUMN outcome, ALTER COLUMN actor SET NOT NULL;
ALTER TABLE audit_pending DROP COLUMN outcome, ALTER COLUMN actor SET NOT NULL;
