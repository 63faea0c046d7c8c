-- Events. The wall-clock times are what people agreed on; the instants follow from them and the zone's rules. Seats are in
-- tables of their own, since they change with every RSVP.

CREATE TABLE events (
    id              uuid PRIMARY KEY,
    community_id    uuid NOT NULL REFERENCES communities (id),
    title           text NOT NULL,
    description     text,
    status          text NOT NULL CHECK (status IN ('draft', 'published', 'cancelled')),
    starts_at_local timestamp NOT NULL,
    ends_at_local   timestamp NOT NULL,
    time_zone       text NOT NULL,
    fold            text CHECK (fold IN ('earlier', 'later')),
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    rsvp_opens_at   timestamptz,
    rsvp_closes_at  timestamptz,
    -- Stays when a published event is cancelled; null for drafts, cancelled ones too, which only their organisers see.
    published_at    timestamptz,
    version         integer NOT NULL CHECK (version >= 1),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CHECK (starts_at < ends_at),
    CHECK (rsvp_opens_at < rsvp_closes_at),
    CHECK (CASE status WHEN 'draft' THEN published_at IS NULL WHEN 'published' THEN published_at IS NOT NULL ELSE true END)
);
CREATE INDEX events_by_start ON events (community_id, starts_at, id);

CREATE TABLE event_organizers (
    event_id uuid NOT NULL REFERENCES events (id),
    user_id  uuid NOT NULL REFERENCES users (id),
    PRIMARY KEY (event_id, user_id)
);
