DROP INDEX members_by_age_of_community;
DROP TRIGGER members_age_of_community ON members;
DROP FUNCTION convene_age_of_community();
ALTER TABLE members DROP COLUMN community_created_at;
