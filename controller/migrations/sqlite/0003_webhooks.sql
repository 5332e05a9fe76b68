-- How far each webhook has been told of the audit, and what keeps it from the rest.
CREATE TABLE webhook (
    name TEXT PRIMARY KEY,
    told INTEGER NOT NULL,
    failing TEXT,
    last_error TEXT NOT NULL,
    stopped INTEGER NOT NULL
) STRICT;

-- The alarms of which the audit says that they began and not yet that they ended. No credential: the whole controller.
CREATE TABLE alarm (
    credential TEXT NOT NULL,
    kind TEXT NOT NULL,
    began TEXT NOT NULL,
    PRIMARY KEY (credential, kind)
) STRICT;
