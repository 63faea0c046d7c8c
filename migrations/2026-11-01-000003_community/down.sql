DROP TABLE members, community_slugs, communities;
