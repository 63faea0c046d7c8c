-- The trace of the request that caused the event: attempts go on with it, days later if need be. Deliveries of before have
-- none.
ALTER TABLE webhook_deliveries ADD COLUMN traceparent text;
