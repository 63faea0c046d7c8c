DROP TABLE webhook_previous_secrets;
ALTER TABLE webhook_endpoints DROP COLUMN public_key, DROP COLUMN header_names, DROP COLUMN headers, DROP COLUMN rate_limit;
