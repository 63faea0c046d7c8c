DROP TABLE replays, platform_admins;
