-- The first schema. Numbers are whole; moments are text: wall milliseconds, boot, milliseconds since that boot.

-- The one row that says whose store this is, which life of it, and who may write.
CREATE TABLE meta (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    installation TEXT NOT NULL,
    incarnation BIGINT NOT NULL,
    incarnation_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('normal', 'reconcile-only')),
    commits BIGINT NOT NULL,
    audit_seq BIGINT NOT NULL,
    audit_head BYTEA NOT NULL CHECK (length(audit_head) = 32)
);

-- A credential: what was declared, and where its rotation stands.
CREATE TABLE credential (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    ledger TEXT NOT NULL,
    seq BIGINT NOT NULL
);

-- How far a name had come that was forgotten: sidecars remember its orders and fences, so a credential that takes the
-- name again goes on from there.
CREATE TABLE forgotten (
    name TEXT PRIMARY KEY,
    last_order BIGINT NOT NULL,
    last_version BIGINT NOT NULL
);

-- The sealed secret of one version. Written once; no statement changes it with anything else.
CREATE TABLE version_secret (
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    version BIGINT NOT NULL CHECK (version > 0),
    kek TEXT NOT NULL,
    dek BYTEA NOT NULL CHECK (length(dek) > 28),
    ciphertext BYTEA NOT NULL CHECK (length(ciphertext) > 28),
    PRIMARY KEY (credential, version)
);

-- Rotations, the open one and those that ended.
CREATE TABLE rotation (
    id TEXT PRIMARY KEY,
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    record TEXT NOT NULL,
    started TEXT NOT NULL,
    started_wall BIGINT NOT NULL,
    ended TEXT
);
CREATE INDEX rotation_of_credential ON rotation (credential, started_wall);

-- A sidecar instance, from its join on.
CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    spiffe TEXT NOT NULL,
    host TEXT NOT NULL,
    software TEXT NOT NULL,
    joined TEXT NOT NULL,
    session TEXT,
    session_seq BIGINT NOT NULL,
    last_contact TEXT,
    lease_ms BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    leaf_issued BIGINT NOT NULL,
    leaf_confirmed BIGINT NOT NULL,
    leaf_key TEXT,
    leaf_expires_wall BIGINT,
    locked TEXT,
    removed TEXT
);
CREATE INDEX instance_of_spiffe ON instance (spiffe);

-- What one instance holds of one credential, and what it has acknowledged in its session. `since`, `kept_order` and
-- `kept_at` outlive a session when the next one says that it still holds what it had.
CREATE TABLE holding (
    instance TEXT NOT NULL REFERENCES instance (id) ON DELETE CASCADE,
    credential TEXT NOT NULL REFERENCES credential (id) ON DELETE CASCADE,
    since TEXT NOT NULL,
    came_empty BIGINT NOT NULL CHECK (came_empty IN (0, 1)),
    acked_order BIGINT,
    acked_version BIGINT,
    acked_at TEXT,
    kept_order BIGINT,
    kept_at TEXT,
    nacked_order BIGINT,
    nacked_reason TEXT,
    withdrawn BIGINT NOT NULL CHECK (withdrawn IN (0, 1)),
    usage TEXT,
    usage_order BIGINT,
    usage_at TEXT,
    gone TEXT,
    PRIMARY KEY (instance, credential)
);
CREATE INDEX holding_of_credential ON holding (credential);

-- A join token that was not used: only its hash.
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    spiffe TEXT NOT NULL,
    made TEXT NOT NULL,
    life_ms BIGINT NOT NULL,
    made_by TEXT NOT NULL
);

-- An operator.
CREATE TABLE admin (
    name TEXT PRIMARY KEY,
    roles TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    expires_wall BIGINT NOT NULL,
    last_seen TEXT,
    removed TEXT
);

-- A key of the controller itself, sealed like a version.
CREATE TABLE sealed_key (
    name TEXT PRIMARY KEY,
    kek TEXT NOT NULL,
    dek BYTEA NOT NULL CHECK (length(dek) > 28),
    ciphertext BYTEA NOT NULL CHECK (length(ciphertext) > 28)
);

-- A certificate of the controller's own CAs.
CREATE TABLE certificate (
    name TEXT PRIMARY KEY,
    der BYTEA NOT NULL
);

-- What happened, chained: each row's hash covers the one before.
CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    time_wall BIGINT NOT NULL,
    installation TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    authenticated TEXT NOT NULL,
    verb TEXT NOT NULL,
    credential TEXT,
    version BIGINT,
    rotation TEXT,
    holder TEXT,
    outcome TEXT NOT NULL,
    request TEXT,
    reason TEXT NOT NULL,
    prev BYTEA NOT NULL CHECK (length(prev) = 32),
    hash BYTEA NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_of_credential ON audit (credential, seq);

-- The database itself refuses what no statement of ours does.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$;
CREATE TRIGGER version_secret_is_written_once BEFORE UPDATE ON version_secret FOR EACH ROW
WHEN (old.ciphertext IS DISTINCT FROM new.ciphertext OR old.credential IS DISTINCT FROM new.credential
      OR old.version IS DISTINCT FROM new.version)
EXECUTE FUNCTION refuse('a sealed secret is written once');
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION refuse('the audit only grows');
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse('the audit only grows');
