-- Accounts, logins and tokens. Nothing here references another module's tables: auth can become a service of its own.
-- Tokens are stored as SHA-256 of 32 random bytes.

CREATE TABLE credentials (
    user_id       uuid PRIMARY KEY,
    address       text NOT NULL CONSTRAINT credentials_address_key UNIQUE CHECK (address = lower(address)),
    -- The key of the address in login_failures.
    account       bytea NOT NULL CHECK (length(account) = 32),
    password_hash text NOT NULL
);
CREATE INDEX credentials_by_account ON credentials (account);

-- An address may have any number: each waits with its own password until one is verified.
CREATE TABLE registrations (
    id            uuid PRIMARY KEY,
    email         text NOT NULL,
    address       text NOT NULL,
    display_name  text NOT NULL,
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX registrations_by_address ON registrations (address, created_at);
CREATE INDEX registrations_by_expiry ON registrations (expires_at);

-- A token mailed for a registration verifies it, one mailed for a credential resets its password.
CREATE TABLE email_tokens (
    digest          bytea PRIMARY KEY CHECK (length(digest) = 32),
    registration_id uuid REFERENCES registrations (id) ON DELETE CASCADE,
    user_id         uuid REFERENCES credentials (user_id) ON DELETE CASCADE,
    expires_at      timestamptz NOT NULL,
    CHECK (num_nonnulls(registration_id, user_id) = 1)
);
CREATE INDEX email_tokens_by_registration ON email_tokens (registration_id) WHERE registration_id IS NOT NULL;
CREATE INDEX email_tokens_by_user ON email_tokens (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX email_tokens_by_expiry ON email_tokens (expires_at);

-- Live sessions only: one that ends leaves.
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES credentials (user_id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    client_ip    text,
    user_agent   text
);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- A spent token stays until it expires, so that its reuse is recognised. No foreign key: a session that ends must not
-- cost as much as it has had tokens; without their session they are good for nothing.
CREATE TABLE refresh_tokens (
    digest           bytea PRIMARY KEY CHECK (length(digest) = 32),
    session_id       uuid NOT NULL,
    predecessor      bytea CHECK (length(predecessor) = 32),
    expires_at       timestamptz NOT NULL,
    spent_at         timestamptz,
    sealed_successor bytea,
    CHECK (sealed_successor IS NULL OR spent_at IS NOT NULL)
) WITH (fillfactor = 85);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- What every process reads continually, so that a session that ends is felt everywhere at once. In the database's time,
-- which is one for all.
CREATE TABLE revocations (
    subject uuid NOT NULL,
    kind    text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subject, kind)
);
CREATE INDEX revocations_by_time ON revocations (at);

CREATE TABLE signing_keys (
    kid            text PRIMARY KEY,
    sealed_private bytea NOT NULL,
    public         bytea NOT NULL,
    created_at     timestamptz NOT NULL,
    retired_at     timestamptz
);

-- Consecutive logins that did not succeed, by a keyed digest of the address, whether it has an account or not.
CREATE TABLE login_failures (
    account    bytea PRIMARY KEY CHECK (length(account) = 32),
    failures   integer NOT NULL CHECK (failures >= 0),
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 85);
CREATE INDEX login_failures_by_time ON login_failures (updated_at);
