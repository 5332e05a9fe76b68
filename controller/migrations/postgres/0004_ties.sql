-- What ties a credential to others: all that have the same word of the same kind. Written with the declaration.
CREATE TABLE tie (
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (credential, kind)
);
CREATE INDEX tie_by_word ON tie (kind, word);

-- The database itself fills in what was declared before: the class and the environment of each credential.
INSERT INTO tie (credential, kind, word)
SELECT id, 'class', (spec::json ->> 'class') || chr(10) || (spec::json ->> 'environment')
FROM credential
WHERE (spec::json ->> 'class') IS NOT NULL AND (spec::json ->> 'environment') IS NOT NULL;
