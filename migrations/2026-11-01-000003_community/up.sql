-- Communities, the names by which they are found, and who belongs to them.

CREATE TABLE communities (
    id          uuid PRIMARY KEY,
    slug        text NOT NULL,
    name        text NOT NULL,
    description text,
    visibility  text NOT NULL CHECK (visibility IN ('public', 'private')),
    archived_at timestamptz,
    version     integer NOT NULL CHECK (version >= 1),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX communities_listed ON communities (created_at, id)
    WHERE visibility = 'public' AND archived_at IS NULL;

-- Every slug that a community has or had. It stays reserved, so that no link ever leads to somebody else.
CREATE TABLE community_slugs (
    slug         text NOT NULL,
    community_id uuid NOT NULL REFERENCES communities (id),
    CONSTRAINT community_slugs_taken PRIMARY KEY (slug),
    CONSTRAINT community_slugs_of_community UNIQUE (community_id, slug)
);
-- The present slug is one of them. Deferred, since each row of a new community points at the other.
ALTER TABLE communities ADD CONSTRAINT communities_slug_reserved
    FOREIGN KEY (id, slug) REFERENCES community_slugs (community_id, slug) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE members (
    id           uuid PRIMARY KEY,
    community_id uuid NOT NULL REFERENCES communities (id),
    user_id      uuid NOT NULL REFERENCES users (id),
    role         text NOT NULL CHECK (role IN ('member', 'organizer', 'admin', 'owner')),
    version      integer NOT NULL CHECK (version >= 1),
    joined_at    timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT members_once UNIQUE (community_id, user_id)
);
CREATE UNIQUE INDEX members_one_owner ON members (community_id) WHERE role = 'owner';
CREATE INDEX members_by_joining ON members (community_id, joined_at, id);
CREATE INDEX members_by_person ON members (user_id, joined_at, id);
