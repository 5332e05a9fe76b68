-- The first schema. Numbers are whole; moments are text: wall milliseconds, boot, milliseconds since that boot.

-- The one row that says whose store this is, which life of it, and who may write.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    installation TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    incarnation_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('normal', 'reconcile-only')),
    commits INTEGER NOT NULL,
    audit_seq INTEGER NOT NULL,
    audit_head BLOB NOT NULL CHECK (length(audit_head) = 32)
) STRICT;

-- A credential: what was declared, and where its rotation stands.
CREATE TABLE credential (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    ledger TEXT NOT NULL,
    seq INTEGER NOT NULL
) STRICT;

-- How far a name had come that was forgotten: sidecars remember its orders and fences, so a credential that takes the
-- name again goes on from there.
CREATE TABLE forgotten (
    name TEXT PRIMARY KEY,
    last_order INTEGER NOT NULL,
    last_version INTEGER NOT NULL
) STRICT;

-- The sealed secret of one version. Written once; no statement changes it with anything else.
CREATE TABLE version_secret (
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    version INTEGER NOT NULL CHECK (version > 0),
    kek TEXT NOT NULL,
    dek BLOB NOT NULL CHECK (length(dek) > 28),
    ciphertext BLOB NOT NULL CHECK (length(ciphertext) > 28),
    PRIMARY KEY (credential, version)
) STRICT;

-- Rotations, the open one and those that ended.
CREATE TABLE rotation (
    id TEXT PRIMARY KEY,
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    record TEXT NOT NULL,
    started TEXT NOT NULL,
    started_wall INTEGER NOT NULL,
    ended TEXT
) STRICT;
CREATE INDEX rotation_of_credential ON rotation (credential, started_wall);

-- A sidecar instance, from its join on.
CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    spiffe TEXT NOT NULL,
    host TEXT NOT NULL,
    software TEXT NOT NULL,
    joined TEXT NOT NULL,
    session TEXT,
    session_seq INTEGER NOT NULL,
    last_contact TEXT,
    lease_ms INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    leaf_issued INTEGER NOT NULL,
    leaf_confirmed INTEGER NOT NULL,
    leaf_key TEXT,
    leaf_expires_wall INTEGER,
    locked TEXT,
    removed TEXT
) STRICT;
CREATE INDEX instance_of_spiffe ON instance (spiffe);

-- What one instance holds of one credential, and what it has acknowledged in its session. `since`, `kept_order` and
-- `kept_at` outlive a session when the next one says that it still holds what it had.
CREATE TABLE holding (
    instance TEXT NOT NULL REFERENCES instance (id) ON DELETE CASCADE,
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    since TEXT NOT NULL,
    came_empty INTEGER NOT NULL CHECK (came_empty IN (0, 1)),
    acked_order INTEGER,
    acked_version INTEGER,
    acked_at TEXT,
    kept_order INTEGER,
    kept_at TEXT,
    nacked_order INTEGER,
    nacked_reason TEXT,
    withdrawn INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    usage TEXT,
    usage_order INTEGER,
    usage_at TEXT,
    gone TEXT,
    PRIMARY KEY (instance, credential)
) STRICT;
CREATE INDEX holding_of_credential ON holding (credential);

-- A join token that was not used: only its hash.
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    spiffe TEXT NOT NULL,
    made TEXT NOT NULL,
    life_ms INTEGER NOT NULL,
    made_by TEXT NOT NULL
) STRICT;

-- An operator.
CREATE TABLE admin (
    name TEXT PRIMARY KEY,
    roles TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    expires_wall INTEGER NOT NULL,
    last_seen TEXT,
    removed TEXT
) STRICT;

-- A key of the controller itself, sealed like a version.
CREATE TABLE sealed_key (
    name TEXT PRIMARY KEY,
    kek TEXT NOT NULL,
    dek BLOB NOT NULL CHECK (length(dek) > 28),
    ciphertext BLOB NOT NULL CHECK (length(ciphertext) > 28)
) STRICT;

-- A certificate of the controller's own CAs.
CREATE TABLE certificate (
    name TEXT PRIMARY KEY,
    der BLOB NOT NULL
) STRICT;

-- What happened, chained: each row's hash covers the one before.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time_wall INTEGER NOT NULL,
    installation TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    authenticated TEXT NOT NULL,
    verb TEXT NOT NULL,
    credential TEXT,
    version INTEGER,
    rotation TEXT,
    holder TEXT,
    outcome TEXT NOT NULL,
    request TEXT,
    reason TEXT NOT NULL,
    prev BLOB NOT NULL CHECK (length(prev) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_of_credential ON audit (credential, seq);

-- The database itself refuses what no statement of ours does.
CREATE TRIGGER version_secret_is_written_once BEFORE UPDATE ON version_secret
WHEN old.ciphertext IS NOT new.ciphertext OR old.credential IS NOT new.credential OR old.version IS NOT new.version
BEGIN SELECT RAISE(ABORT, 'a sealed secret is written once'); END;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END;
