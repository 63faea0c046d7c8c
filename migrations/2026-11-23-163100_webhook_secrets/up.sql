-- Secrets that are replaced while webhooks go out, signatures that everybody can verify and nobody forge, and header
-- fields of the endpoints' owners.
ALTER TABLE webhook_endpoints
    -- Of an endpoint whose webhooks are signed with Ed25519; none where a secret is shared.
    ADD COLUMN public_key   text,
    ADD COLUMN header_names text[] NOT NULL DEFAULT '{}',
    -- Names and values, sealed: values can be credentials.
    ADD COLUMN headers      bytea,
    -- Webhooks in a second; as many as go without.
    ADD COLUMN rate_limit   smallint CHECK (rate_limit BETWEEN 1 AND 1000);

-- Secrets that sign beside the one in force, for some time after they were replaced. The newest has the greatest id.
CREATE TABLE webhook_previous_secrets (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    -- Sealed.
    secret      bytea NOT NULL,
    signs_until timestamptz NOT NULL
);
CREATE INDEX webhook_previous_secrets_by_endpoint ON webhook_previous_secrets (endpoint_id, id);
