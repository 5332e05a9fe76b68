-- What a restored store must remember until it is taken up again.

-- While the store only reconciles: the life in which what it holds was decided, and why it reconciles.
ALTER TABLE meta ADD COLUMN former BIGINT;
ALTER TABLE meta ADD COLUMN reconciles_because TEXT;

-- The life in which an instance last said hello.
ALTER TABLE instance ADD COLUMN heard_in BIGINT NOT NULL DEFAULT 0;

-- What an instance said that it has of a credential from an earlier life of the store, until that is taken in.
CREATE TABLE claim (
    instance TEXT NOT NULL REFERENCES instance (id) ON DELETE CASCADE,
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    incarnation BIGINT NOT NULL,
    claimed_order BIGINT NOT NULL,
    version BIGINT,
    handle TEXT,
    fenced TEXT NOT NULL,
    PRIMARY KEY (instance, credential)
);
CREATE INDEX claim_of_credential ON claim (credential);
