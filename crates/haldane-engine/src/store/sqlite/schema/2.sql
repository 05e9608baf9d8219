-- What the judges of a rollout saw, in parts of a few seconds.
CREATE TABLE recording (
    rollout TEXT NOT NULL REFERENCES rollout (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (rollout, number)
) STRICT;
