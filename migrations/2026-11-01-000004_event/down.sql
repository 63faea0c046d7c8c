DROP TABLE event_organizers, events;
