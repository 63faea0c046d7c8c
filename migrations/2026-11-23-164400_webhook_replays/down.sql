DROP INDEX webhook_deliveries_failed;
DROP TABLE webhook_replays;
