-- People. That an address has one account is the business of auth, which makes them.

CREATE TABLE users (
    id                uuid PRIMARY KEY,
    email             text NOT NULL,
    email_verified_at timestamptz,
    display_name      text NOT NULL,
    handle            text CONSTRAINT users_handle_key UNIQUE CHECK (handle = lower(handle)),
    time_zone         text NOT NULL DEFAULT 'UTC',
    -- How many recorded events the person has, which is the aggregate version of the last.
    version           integer NOT NULL CHECK (version >= 1),
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL
);
