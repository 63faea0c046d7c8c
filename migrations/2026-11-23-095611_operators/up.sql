-- What operators leave behind: whom they gave the platform to, and which events they had a consumer take once more.

-- Who may act across communities. No foreign key but to auth's own table: auth can become a service of its own.
CREATE TABLE platform_admins (
    user_id    uuid PRIMARY KEY REFERENCES credentials (user_id) ON DELETE CASCADE,
    -- Null for the operator's command, which runs as nobody.
    granted_by uuid,
    reason     text NOT NULL,
    at         timestamptz NOT NULL
);

-- Each replay of events that were consumed before. Its id is the `replay` of the inbox.
CREATE TABLE replays (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
