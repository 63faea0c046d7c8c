-- The audit log is read by whoever acted and by what was done, without passing by everything else.
CREATE INDEX audit_log_by_actor ON audit_log (chain_id, actor, number);
CREATE INDEX audit_log_by_action ON audit_log (chain_id, action, number);
