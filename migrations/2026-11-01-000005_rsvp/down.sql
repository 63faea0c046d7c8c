DROP TABLE rsvps, event_seats;
