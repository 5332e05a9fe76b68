-- What ties a credential to others: all that have the same word of the same kind. Written with the declaration.
CREATE TABLE tie (
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (credential, kind)
) STRICT;
CREATE INDEX tie_by_word ON tie (kind, word);

-- The database itself fills in what was declared before: the class and the environment of each credential.
INSERT INTO tie (credential, kind, word)
SELECT id, 'class', json_extract(spec, '$.class') || char(10) || json_extract(spec, '$.environment')
FROM credential
WHERE json_extract(spec, '$.class') IS NOT NULL AND json_extract(spec, '$.environment') IS NOT NULL;
