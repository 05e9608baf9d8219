CREATE TABLE service (
    name TEXT PRIMARY KEY NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `sequence` orders rollouts of all services by when they were added.
CREATE TABLE rollout (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    body TEXT NOT NULL,
    UNIQUE (service, number)
) STRICT;
CREATE INDEX rollout_live ON rollout (sequence) WHERE ended_at IS NULL;
CREATE INDEX rollout_ended ON rollout (service, number) WHERE ended_at IS NOT NULL;

CREATE TABLE entry (
    rollout TEXT NOT NULL REFERENCES rollout (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (rollout, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE command (
    sequence INTEGER PRIMARY KEY,
    service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE,
    at TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX command_of_service ON command (service, sequence);

-- `sequence` is new each time a version is put: it orders versions by last use.
CREATE TABLE version (
    sequence INTEGER PRIMARY KEY,
    service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE,
    version TEXT NOT NULL,
    used_at TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (service, version)
) STRICT;
CREATE INDEX version_of_service ON version (service, sequence);
