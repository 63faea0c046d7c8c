use super::*;

/// `table:access` of every mention that is no named query.
fn uses(text: &str) -> Vec<String> {
    let mentions = mentions(text);
    mentions
        .tables
        .iter()
        .filter(|found| !mentions.named_queries.contains(&found.table))
        .map(|found| format!("{}:{:?}", found.table, found.access))
        .collect()
}

#[test]
fn reads_are_found_in_from_lists_joins_and_subqueries() {
    assert_eq!(
        uses(
            "SELECT 1 FROM events e, public.users AS u JOIN members m USING (id) WHERE EXISTS (SELECT FROM rsvps)"
        ),
        ["events:Read", "users:Read", "members:Read", "rsvps:Read"],
    );
}

#[test]
fn writes_are_found() {
    assert_eq!(uses("INSERT INTO rsvps (id, at) VALUES ($1, $2)"), ["rsvps:Insert"]);
    assert_eq!(
        uses("UPDATE ONLY event_seats AS s SET taken = 1 FROM events e"),
        ["event_seats:Update", "events:Read"]
    );
    assert_eq!(
        uses("DELETE FROM sessions s USING users u WHERE 1"),
        ["sessions:Delete", "users:Read"]
    );
    assert_eq!(uses("TRUNCATE TABLE outbox"), ["outbox:Truncate"]);
    assert_eq!(uses("MERGE INTO members USING users ON true"), ["members:Update", "users:Read"]);
    assert_eq!(uses("LOCK TABLE jobs IN SHARE MODE"), ["jobs:Lock"]);
}

#[test]
fn named_queries_functions_and_catalogs_are_no_tables() {
    assert_eq!(
        uses(
            "WITH moved AS (DELETE FROM outbox RETURNING *), seen (id) AS MATERIALIZED (SELECT 1)
             INSERT INTO domain_events SELECT * FROM moved, seen, unnest($1::uuid[]) AS t(id), pg_stat_activity"
        ),
        ["outbox:Delete", "domain_events:Insert"],
    );
}

#[test]
fn a_lock_is_told_from_an_update_and_belongs_to_its_tables() {
    assert_eq!(uses("SELECT 1 FROM members FOR SHARE"), ["members:Read", "members:ShareLock"]);
    assert_eq!(
        uses(
            "SELECT 1 FROM rsvps r JOIN events e ON e.id = r.event_id FOR NO KEY UPDATE OF r SKIP LOCKED"
        ),
        ["rsvps:Read", "events:Read", "rsvps:Lock"],
    );
    assert_eq!(
        uses("SELECT 1 FROM rsvps WHERE id IN (SELECT id FROM events) FOR UPDATE"),
        ["rsvps:Read", "events:Read", "rsvps:Lock"],
    );
    assert_eq!(
        uses("SELECT 1 FROM (SELECT id FROM events) x FOR UPDATE"),
        ["events:Read", "events:Lock"],
    );
}

#[test]
fn words_that_only_look_like_table_positions_are_passed_over() {
    assert_eq!(
        uses("SELECT extract(epoch FROM starts_at), a IS DISTINCT FROM b FROM events"),
        ["events:Read"]
    );
    assert_eq!(
        uses("INSERT INTO inbox (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET at = now()"),
        ["inbox:Insert"],
    );
    assert_eq!(uses("REFERENCES communities (id) ON UPDATE CASCADE ON DELETE SET NULL"), [""; 0]);
    assert_eq!(uses("GRANT SELECT, UPDATE ON audit_log TO convene_app"), [""; 0]);
    assert_eq!(uses("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC"), [""; 0]);
    assert_eq!(uses("CREATE TRIGGER t BEFORE INSERT OR UPDATE ON users"), [""; 0]);
    assert_eq!(uses("SELECT 'FROM users' -- FROM members\n /* JOIN events */"), [""; 0]);
}

#[test]
fn fragments_are_read_too() {
    assert_eq!(uses(" JOIN members m ON m.user_id = r.user_id "), ["members:Read"]);
    assert_eq!(uses(") FROM rsvps"), ["rsvps:Read"]);
}

#[test]
fn a_computed_name_is_reported() {
    assert_eq!(mentions("SELECT 1 FROM {table}").computed_names.len(), 1);
    assert_eq!(mentions("INSERT INTO ").computed_names.len(), 1);
    assert!(mentions("SELECT {columns} FROM events").computed_names.is_empty());
    assert!(mentions("UPDATE").computed_names.is_empty(), "a label");
}

#[test]
fn a_lock_apart_from_its_table_is_reported() {
    assert!(mentions(" FOR NO KEY UPDATE").locks_out_of_sight);
    assert!(!mentions("SELECT 1 FROM rsvps FOR UPDATE").locks_out_of_sight);
    assert!(!mentions("SELECT 1 FROM (SELECT 1 FROM rsvps) r FOR UPDATE").locks_out_of_sight);
    assert!(!mentions("WAITING FOR").locks_out_of_sight);
}

#[test]
fn lines_are_counted_and_capitals_noted() {
    let found = mentions("SELECT 1\nFROM events\njoin users");
    let seen: Vec<_> = found.tables.iter().map(|table| (table.line, table.in_capitals)).collect();
    assert_eq!(seen, [(1, true), (2, false)]);
}
