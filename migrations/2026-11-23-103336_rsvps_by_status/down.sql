DROP INDEX rsvps_cancelled_of_person;
DROP INDEX rsvps_cancelled;
DROP INDEX rsvps_waiting;
