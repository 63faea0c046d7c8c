-- What processes remember of the database and what others have changed since. Written in the transaction of the change, as
-- its last statement, so that it is committed moments after `at`; read continually by every process; kept for longer
-- than anything is remembered. In the database's time, which is one for all.
CREATE TABLE cache_invalidations (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text NOT NULL,
    subject uuid NOT NULL,
    -- The second part of a key that has two, such as the person of a membership.
    part    uuid,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX cache_invalidations_by_time ON cache_invalidations (at);

-- Stands in the keys of what processes share outside of the database: a database that is made anew begins without them.
CREATE TABLE cache_epochs (
    epoch uuid PRIMARY KEY
);
INSERT INTO cache_epochs VALUES (gen_random_uuid());
