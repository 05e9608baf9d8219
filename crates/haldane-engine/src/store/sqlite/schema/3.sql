-- What is usual of a metric in one hour of the week. `sequence` is new each time a row is put: it orders rows by when something was
-- learned last.
CREATE TABLE band (
    sequence INTEGER PRIMARY KEY,
    service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE,
    metric TEXT NOT NULL,
    hour INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (service, metric, hour)
) STRICT;
CREATE INDEX band_of_service ON band (service, sequence);
