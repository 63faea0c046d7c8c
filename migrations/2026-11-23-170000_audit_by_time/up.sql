-- The audit log is read by when something happened, too, in that order: numbers follow the order of commits.
CREATE INDEX audit_log_by_time ON audit_log (chain_id, at, number);
