-- Seats and who holds them. Counters and waitlist numbers change with every RSVP, so they are not in `events`.

CREATE TABLE event_seats (
    event_id    uuid PRIMARY KEY REFERENCES events (id),
    capacity    integer CHECK (capacity BETWEEN 1 AND 1000000),
    taken       integer NOT NULL DEFAULT 0 CHECK (taken >= 0),
    waiting     integer NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    next_number bigint NOT NULL DEFAULT 1,
    CONSTRAINT event_seats_never_oversold CHECK (capacity IS NULL OR taken <= capacity)
) WITH (fillfactor = 50);

CREATE TABLE rsvps (
    id              uuid PRIMARY KEY,
    event_id        uuid NOT NULL REFERENCES event_seats (event_id),
    user_id         uuid NOT NULL REFERENCES users (id),
    status          text NOT NULL CHECK (status IN ('confirmed', 'waitlisted', 'cancelled')),
    party_size      smallint NOT NULL CHECK (party_size BETWEEN 1 AND 10),
    waitlist_number bigint,
    version         integer NOT NULL CHECK (version >= 1),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CHECK ((status = 'waitlisted') = (waitlist_number IS NOT NULL))
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX rsvps_one_active ON rsvps (event_id, user_id) WHERE status <> 'cancelled';
CREATE UNIQUE INDEX rsvps_line ON rsvps (event_id, waitlist_number) WHERE status = 'waitlisted';
CREATE INDEX rsvps_by_event ON rsvps (event_id, created_at, id);
CREATE INDEX rsvps_by_person ON rsvps (user_id, created_at, id);
