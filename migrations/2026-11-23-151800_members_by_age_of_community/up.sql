-- One's own communities by their age, so that a page of the list of communities ends where the page ends, however many one
-- belongs to. When a community was made never changes, so the copy cannot grow old; the trigger serves code that knows
-- nothing of it.
ALTER TABLE members ADD COLUMN community_created_at timestamptz;
UPDATE members m SET community_created_at = c.created_at FROM communities c WHERE c.id = m.community_id;

CREATE FUNCTION convene_age_of_community() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT created_at INTO STRICT NEW.community_created_at FROM communities WHERE id = NEW.community_id;
    RETURN NEW;
END $$;
CREATE TRIGGER members_age_of_community BEFORE INSERT ON members
    FOR EACH ROW EXECUTE FUNCTION convene_age_of_community();

ALTER TABLE members ALTER COLUMN community_created_at SET NOT NULL;
CREATE INDEX members_by_age_of_community ON members (user_id, community_created_at, community_id);
