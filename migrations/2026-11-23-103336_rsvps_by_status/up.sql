-- Who waits for an event and who cancelled, listed without passing by everybody who comes; and the last answer of one
-- person without reading those of others. An RSVP that is confirmed at once touches none of these.
CREATE INDEX rsvps_waiting ON rsvps (event_id, created_at, id) WHERE status = 'waitlisted';
CREATE INDEX rsvps_cancelled ON rsvps (event_id, created_at, id) WHERE status = 'cancelled';
CREATE INDEX rsvps_cancelled_of_person ON rsvps (event_id, user_id, created_at, id) WHERE status = 'cancelled';
